"""``cifar10`` and ``cifar100``: small photos of ten and of a hundred kinds of things."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import DatasetInfo

from ._published import Found, PublishedArrays, Release

if TYPE_CHECKING:
    from ._decoded import Decoded

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: The fine labels, in the order of the published file: alphabetical.
# fmt: off
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)
# fmt: on
#: Classes whose name takes no article, or the definite one.
ARTICLES = {"cattle": "cattle", "sea": "the sea"}


def with_article(name: str) -> str:
    """Return a class as it reads inside a prompt: ``"an aquarium fish"``."""
    plain = name.replace("_", " ")
    return ARTICLES.get(name, f"{'an' if plain[0] in 'aeiou' else 'a'} {plain}")


def _release(
    name: str,
    title: str,
    classes: tuple[str, ...],
    moments: tuple[tuple[float, float, float], tuple[float, float, float]],
    paper: str,
    folder: str,
    files: tuple[str, ...],
) -> Release:
    archive = f"{name.replace('cifar', 'cifar-')}-python.tar.gz"
    info = DatasetInfo(
        name=name,
        classes=classes,
        counts={"train": 50000, "validation": 0, "test": 10000},
        class_counts=(50000 // len(classes),) * len(classes),
        resolution=32,
        classify_resolution=32,
        generate_resolution=128,
        mean=moments[0],
        std=moments[1],
        flip_keeps_class=True,
        foundation="CompVis/stable-diffusion-v1-4",
        prompt="a photo of {}.",
        prompt_names=tuple(with_article(item) for item in classes),
        group_size=1000,
        licence="none stated by the authors",
        source=f"{title} (Krizhevsky 2009), the Python version, as torchvision.datasets.{name.upper()} fetches it",
        paper=paper,
    )
    return Release(info, title, "torchvision", f"https://www.cs.toronto.edu/~kriz/{archive}", archive, folder, files)


@dataclass(frozen=True)
class CIFAR10(PublishedArrays):
    """Photos of ten kinds of animals and vehicles, 32x32 RGB; 50,000 train, 10,000 test, balanced.

    Read from ``cifar-10-python.tar.gz``, whose checksum is verified, or from ``cifar-10-batches-py``, whose files are
    compared with the published ones; a difference is noted. The pickles in it are looked through before torchvision
    reads them: one that asks for more than arrays is refused. There is no validation part. Images are in the
    published order, batch after batch. Normalisation and the resolution of generation (128 px) are those of
    Diffusion Inversion, Zhou et al. 2023; prompts are "a photo of an airplane.".
    """

    release: ClassVar[Release] = _release(
        "cifar10",
        "CIFAR-10",
        CIFAR10_CLASSES,
        ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "Diffusion Inversion, Zhou et al. 2023, Fig. 5 and 6, Tables 1, 6 and 7",
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
    )

    def _decoded(self, found: Found) -> Decoded:
        from ._cifar import decode

        return decode("CIFAR10", found, self.release, self._subject, self._remedy)

    def _checksum(self) -> str:
        from ._cifar import checksum

        return checksum("CIFAR10")


@dataclass(frozen=True)
class CIFAR100(PublishedArrays):
    """Photos of a hundred kinds of things (the fine labels), 32x32 RGB; 50,000 train, 10,000 test, balanced.

    Read from ``cifar-100-python.tar.gz`` or ``cifar-100-python`` as ``cifar10`` is. There is no validation part.
    Images are in the published order. Normalisation and the resolution of generation (128 px) are those of Diffusion
    Inversion, Zhou et al. 2023; prompts are "a photo of an aquarium fish.".
    """

    release: ClassVar[Release] = _release(
        "cifar100",
        "CIFAR-100",
        CIFAR100_CLASSES,
        ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
        "Diffusion Inversion, Zhou et al. 2023, Fig. 5 and 6, Tables 1, 6 and 7",
        "cifar-100-python",
        ("train", "test", "meta"),
    )

    def _decoded(self, found: Found) -> Decoded:
        from ._cifar import decode

        return decode("CIFAR100", found, self.release, self._subject, self._remedy)

    def _checksum(self) -> str:
        from ._cifar import checksum

        return checksum("CIFAR100")
