"""How each architecture meets small images: one table, read by the builders and shown by ``bench show timm``.

The five architectures of the paper (Diffusion Inversion, Zhou et al. 2023, figure 7c) come in the variants its authors
trained, which keep more of a small image than the ImageNet originals: stems of stride 1 and fewer pools.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Sides in px that the authors' networks were made for: MedMNIST, CIFAR, STL-10 and ImageNet or Imagenette.
SIDES = (28, 32, 96, 256)
#: The architectures of ``--arch all``, in the paper's order.
PAPER_ARCHITECTURES = ("resnet18", "vgg16", "mobilenetv2", "shufflenetv2", "efficientnetb0")


@dataclass(frozen=True)
class Stem:
    """The first layers for a range of resolutions.

    Attributes:
        low: smallest side in px that the row holds for.
        high: largest side, ``None`` without limit.
        kernel: side of the first convolution.
        stride: its stride.
        padding: its zero padding.
        pool: whether a 3x3 max pool of stride 2 follows.
    """

    low: int
    high: int | None
    kernel: int
    stride: int
    padding: int
    pool: bool = False

    def map(self, resolution: int) -> int:
        """Return the side of the feature map that leaves the stem."""
        side = (resolution + 2 * self.padding - self.kernel) // self.stride + 1
        return (side + 1) // 2 if self.pool else side

    @property
    def sides(self) -> str:
        """The range in words: ``"29-63"``, ``"28"``, ``"128+"``."""
        if self.high is None:
            return f"{self.low}+"
        return f"{self.low}-{self.high}" if self.high > self.low else str(self.low)

    def __str__(self) -> str:
        pool = ", max pool 3x3 /2" if self.pool else ""
        return f"{self.kernel}x{self.kernel} /{self.stride} pad {self.padding}{pool}"


@dataclass(frozen=True)
class Rule:
    """What is known of an architecture before it is built.

    Attributes:
        stems: one row per range of resolutions, ascending.
        halvings: how often the body after the stem halves the map; VGG leaves out those that would empty it.
        rounds_up: whether an odd side 2k + 1 becomes k + 1 (convolutions) rather than k (VGG's pools).
        authors: weights of the authors' network with 10 classes, by the side of its images.
        note: why ours has another number of weights, or what adapts besides the stem.
    """

    stems: tuple[Stem, ...]
    halvings: int
    rounds_up: bool
    authors: Mapping[int, int]
    note: str = ""

    @property
    def smallest(self) -> int:
        """The smallest side in px that it takes."""
        return self.stems[0].low

    def stem(self, resolution: int) -> Stem:
        """Return the row for a resolution."""
        for row in self.stems:
            if row.low <= resolution and (row.high is None or resolution <= row.high):
                return row
        raise ValueError(f"must be at least {self.smallest} px; got {resolution}")

    def pools(self, resolution: int) -> int:
        """Return how many of the body's halvings leave a map of at least 1x1 (all of them where sides round up)."""
        side = self.stem(resolution).map(resolution)
        if self.rounds_up:
            return self.halvings
        return min(self.halvings, side.bit_length() - 1)

    def output(self, resolution: int) -> int:
        """Return the side of the last feature map."""
        side = self.stem(resolution).map(resolution)
        for _ in range(self.pools(resolution)):
            side = (side + 1) // 2 if self.rounds_up else side // 2
        return side


_SMALL = Stem(8, None, kernel=3, stride=1, padding=1)

RULES: dict[str, Rule] = {
    "resnet18": Rule(
        stems=(
            Stem(8, 27, kernel=3, stride=1, padding=1),
            Stem(28, 28, kernel=3, stride=1, padding=3),
            Stem(29, 63, kernel=3, stride=1, padding=1),
            Stem(64, 127, kernel=7, stride=2, padding=3),
            Stem(128, None, kernel=7, stride=2, padding=3, pool=True),
        ),
        halvings=3,
        rounds_up=True,
        authors={28: 11_173_962, 32: 11_173_962, 96: 11_181_642, 256: 11_181_642},
    ),
    "vgg16": Rule(
        stems=(_SMALL,),
        halvings=5,
        rounds_up=False,
        authors=dict.fromkeys((32, 96, 256), 14_728_266),
        note="batch norm, one linear head; the last pools are left out where they would empty the map "
        "(the authors' network fails below 32 px)",
    ),
    "mobilenetv2": Rule(stems=(_SMALL,), halvings=4, rounds_up=True, authors=dict.fromkeys(SIDES, 2_296_490)),
    "shufflenetv2": Rule(
        stems=(Stem(8, None, kernel=3, stride=1, padding=1, pool=True),),
        halvings=3,
        rounds_up=True,
        authors=dict.fromkeys(SIDES, 352_042),
        note="width 0.5, from torchvision",
    ),
    "efficientnetb0": Rule(
        stems=(_SMALL,),
        halvings=4,
        rounds_up=True,
        authors=dict.fromkeys(SIDES, 3_599_686),
        note="no 1280-wide head convolution; the authors' count has 1,088 weights that their forward pass never uses "
        "(the expansion of the first block, whose ratio is 1)",
    ),
}

#: What happens to any other timm network.
OTHERS = (
    "below 64 px the first convolution takes stride 1 and a max pool right behind it is left out, unless it cuts "
    "patches (kernel = stride); a network of fixed input size, as most transformers are, is made for the resolution"
)
