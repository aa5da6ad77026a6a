"""Which variant is made of which image: sources, partners and settings, spread evenly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchbench.plugins.context import derive_seed


@dataclass(frozen=True)
class Variant:
    """The recipe of one generated image.

    Attributes:
        source: training image whose embedding is varied; its label is kept.
        partner: another image of the class, whose embedding is mixed in; ``None`` when nothing is mixed in.
        guidance_scale: in the diffusers convention.
        checkpoint: visits per image of the embeddings used.
        seed: of this image's generator (embedding noise, then latents).
    """

    source: int
    partner: int | None
    guidance_scale: float
    checkpoint: int
    seed: int


class Assignment:
    """A deterministic list of ``n_syn`` variants over the training images.

    Variants come in rounds: round k makes the k-th variant of every image, in order, so any prefix is
    balanced; a last, incomplete round takes a seeded choice of images, class by class in turn. The k-th
    variant of an image takes the next of the ``guidance_scale x checkpoint`` settings in rotation, shifted
    from image to image, and moves to the next partner when all settings had their turn: 45 variants under the
    paper's preset are 5 partners x 3 guidance scales x 3 checkpoints (Zhou et al. 2023, appendix B.2.2).
    Partners are the other images of the class in a seeded order. An image that is alone in its class has none
    and is not interpolated.

    Args:
        labels: int64 ``(N,)``.
        n_syn: number of variants.
        guidance_scales: scales to mix.
        checkpoints: checkpoints to mix.
        interpolate: whether partners are used at all.
        seed: of every choice.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        n_syn: int,
        guidance_scales: tuple[float, ...],
        checkpoints: tuple[int, ...],
        *,
        interpolate: bool,
        seed: int,
    ) -> None:
        self.labels, self.n_syn, self.seed, self.interpolate = labels, n_syn, seed, interpolate
        self.settings = list(product(guidance_scales, checkpoints))
        self._rounds, rest = divmod(n_syn, len(labels))
        self._last = _balanced_choice(labels, rest, seed)
        self._members = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
        self._partners = lru_cache(maxsize=len(labels))(self._partners_of)

    def __len__(self) -> int:
        return self.n_syn

    def __getitem__(self, number: int) -> Variant:
        """Return variant ``number`` in 0..n_syn-1."""
        if not 0 <= number < self.n_syn:
            raise IndexError(number)
        turn, place = divmod(number, len(self.labels))
        source = place if turn < self._rounds else self._last[place]
        scale, checkpoint = self.settings[(turn + source) % len(self.settings)]
        partner = None
        if self.interpolate:
            partners = self._partners(source)
            partner = partners[(turn // len(self.settings)) % len(partners)] if partners else None
        return Variant(source, partner, scale, checkpoint, derive_seed(self.seed, "variant", source, turn))

    def _partners_of(self, source: int) -> tuple[int, ...]:
        members = self._members[int(self.labels[source])]
        others = members[members != source]
        order = np.random.default_rng(derive_seed(self.seed, "partners", source)).permutation(others)
        return tuple(int(item) for item in order)


def _balanced_choice(labels: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Choose ``count`` distinct images, class by class in turn while a class lasts, in ascending order."""
    rng = np.random.default_rng(derive_seed(seed, "last round"))
    queues = [list(rng.permutation(np.flatnonzero(labels == label))) for label in rng.permutation(np.unique(labels))]
    chosen: list[int] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(int(queue.pop()))
    return sorted(chosen)
