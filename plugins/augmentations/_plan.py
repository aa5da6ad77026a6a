"""Plans: the operators of each image of a batch, drawn on the host, and their execution on the batch.

Images that need the same operator are brought side by side, so that an operator runs once per batch and not once per
image; the five geometric ones share one call.

A :class:`Space` holds the operators that a policy draws from and the meaning of its magnitude bins for each. The
ranges are those of AutoAugment (Cubuk et al. 2019, appendix) as torchvision's transforms have them, which differ
from the paper in three points: the enhancing operators are given as ``1 + magnitude`` with a random sign and so reach
0.1..1.9 from the middle outwards, translations scale with the image (150 px at 331 px), and Cutout and Sample Pairing
are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from . import _operators

#: Images at once on a CPU hold at most so many pixels: their float copies then stay in its cache.
PIXELS = 1 << 16

Matrices = Callable[[NDArray[np.float64], int, int], NDArray[np.float64]]
Colours = Callable[[torch.Tensor, NDArray[np.float64]], torch.Tensor]

_MATRICES: dict[str, Matrices] = {
    "ShearX": _operators.shear_x,
    "ShearY": _operators.shear_y,
    "TranslateX": _operators.translate_x,
    "TranslateY": _operators.translate_y,
    "Rotate": _operators.rotate,
}
_COLOURS: dict[str, Colours] = {
    "Brightness": _operators.brightness,
    "Color": _operators.color,
    "Contrast": _operators.contrast,
    "Sharpness": _operators.sharpness,
    "Posterize": _operators.posterize,
    "Solarize": _operators.solarize,
    "AutoContrast": _operators.autocontrast,
    "Equalize": _operators.equalize,
    "Invert": _operators.invert,
}
#: Operators in the order in which a batch is sorted; a plan holds positions in this tuple.
OPERATORS = ("Identity", *_MATRICES, *_COLOURS)
IDENTITY = OPERATORS.index("Identity")
#: Positions of the first geometric operator and of the first colour operator.
_GEOMETRY_AT, _COLOUR_AT = 1, 1 + len(_MATRICES)

GEOMETRIC = tuple(_MATRICES)
ENHANCING = ("Brightness", "Color", "Contrast", "Sharpness")
SIGNED = frozenset((*GEOMETRIC, *ENHANCING))

#: RandAugment's fourteen operators (Cubuk et al. 2020, section 3).
RANDAUGMENT = ("Identity", *GEOMETRIC, *ENHANCING, "Posterize", "Solarize", "AutoContrast", "Equalize")
#: AutoAugment's, of which a policy uses some.
AUTOAUGMENT = (*RANDAUGMENT, "Invert")
#: AugMix's nine (Hendrycks et al. 2020, section 3), without those that its corruption benchmark tests.
AUGMIX = (*GEOMETRIC, "Posterize", "Solarize", "AutoContrast", "Equalize")
#: AugMix's with the four enhancing ones.
AUGMIX_ALL = (*AUGMIX, *ENHANCING)


@dataclass(frozen=True)
class Plan:
    """The operators of a batch, one column after the other.

    Attributes:
        operators: int64 ``(n, links)``, positions in ``OPERATORS``.
        magnitudes: float64 ``(n, links)``, signed.
    """

    operators: NDArray[np.int64]
    magnitudes: NDArray[np.float64]


Draw = Callable[[int, int, int, np.random.Generator], Plan]


def host_rng(rng: torch.Generator) -> np.random.Generator:
    """Return a NumPy generator seeded with one draw of ``rng``.

    A plan is a few numbers per image that steer which kernels run, so it is needed on the host; this fetches one number
    from an accelerator instead of several arrays.
    """
    seed = torch.randint(2**63 - 1, (), generator=rng, device=rng.device)
    return np.random.default_rng(int(seed))


def as_uint8(images: torch.Tensor) -> torch.Tensor:
    """Return the images as uint8, float values in [0, 255] rounded to the nearest integer."""
    return images if images.dtype == torch.uint8 else images.round().clamp_(0, 255).to(torch.uint8)


def perform(images: torch.Tensor, plan: Plan, interpolation: str) -> torch.Tensor:
    """Return each image after its operators.

    Args:
        images: uint8 ``(n, 3, H, W)``; not changed.
        plan: for the same ``n``.
        interpolation: of the geometric operators, ``"nearest"`` or ``"bilinear"``.
    """
    count = len(images)
    places = np.arange(count)  # where each image is now
    for operators, magnitudes in zip(plan.operators.T, plan.magnitudes.T, strict=True):
        order = np.argsort(operators, kind="stable")
        images = _taken(images, places[order])
        _change(images, operators[order], magnitudes[order], interpolation)
        places[order] = np.arange(count)
    return _taken(images, places)


def augmented(images: torch.Tensor, draw: Draw, rng: torch.Generator) -> torch.Tensor:
    """Return images after the operators that ``draw`` chooses for them, nearest neighbour, in their own dtype.

    Args:
        images: uint8, or float in [0, 255], which is rounded first, ``(n, 3, H, W)``.
        draw: of the number of images, their height and width and a generator on the host, the plan.
        rng: decides everything.
    """
    plan = draw(len(images), images.shape[-2], images.shape[-1], host_rng(rng))
    return perform(as_uint8(images), plan, "nearest").to(images.dtype)


def pieces(images: torch.Tensor, start: int, stop: int) -> Iterator[slice]:
    """Split ``start..stop`` so that each piece suits the cache of a CPU; an accelerator gets one piece."""
    pixels = images.shape[-2] * images.shape[-1]
    size = max(1, PIXELS // pixels if images.device.type == "cpu" else stop - start)
    for at in range(start, stop, size):
        yield slice(at, min(at + size, stop))


def _taken(images: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
    """Return a new batch of the images at ``places``."""
    return images.index_select(0, torch.from_numpy(places).to(images.device))


def _change(
    images: torch.Tensor, operators: NDArray[np.int64], magnitudes: NDArray[np.float64], interpolation: str
) -> None:
    """Put each image through one operator, in place; ``operators`` ascend."""
    start, stop = np.searchsorted(operators, (_GEOMETRY_AT, _COLOUR_AT)).tolist()
    maps = _operators.identities(stop - start)
    for operator, matrices in enumerate(_MATRICES.values(), _GEOMETRY_AT):
        chosen = operators[start:stop] == operator
        maps[chosen] = matrices(magnitudes[start:stop][chosen], *images.shape[-2:])
    for piece in pieces(images, start, stop):
        inner = slice(piece.start - start, piece.stop - start)
        images[piece] = _operators.resample(images[piece], maps[inner], interpolation)
    for operator, function in enumerate(_COLOURS.values(), _COLOUR_AT):
        start, stop = np.searchsorted(operators, (operator, operator + 1)).tolist()
        for piece in pieces(images, start, stop):
            images[piece] = function(images[piece], magnitudes[piece])


@dataclass(frozen=True)
class Space:
    """Magnitudes of some operators.

    Attributes:
        operators: int64 ``(K,)``, positions in ``OPERATORS``.
        magnitudes: float64 ``(K, bins)``; 0 where an operator has none.
        signed: bool ``(K,)``, whether half of the draws get a minus.
    """

    operators: NDArray[np.int64]
    magnitudes: NDArray[np.float64]
    signed: NDArray[np.bool_]

    def draw(
        self, which: NDArray[np.int64], bins: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return operators and magnitudes with random signs.

        Args:
            which: positions in ``operators``, of any shape.
            bins: magnitude bins of that shape.
            rng: draws one sign for each, needed or not.
        """
        minus = rng.integers(2, size=which.shape).astype(bool) & self.signed[which]
        magnitudes = self.magnitudes[which, bins]
        return self.operators[which], np.where(minus, -magnitudes, magnitudes)


@lru_cache(maxsize=64)
def autoaugment_space(names: tuple[str, ...], bins: int, height: int, width: int) -> Space:
    """Return the magnitudes of AutoAugment and RandAugment in ``bins`` bins for images of ``height`` x ``width`` px."""
    return _space(names, bins, (150.0 / 331.0 * height, 150.0 / 331.0 * width), most_bits=8)


@lru_cache(maxsize=64)
def augmix_space(names: tuple[str, ...], bins: int, height: int, width: int) -> Space:
    """Return the magnitudes of AugMix: translations by up to a third of the side, posterising to 4 bits or fewer."""
    return _space(names, bins, (height / 3.0, width / 3.0), most_bits=4)


def _space(names: tuple[str, ...], bins: int, shifts: tuple[float, float], most_bits: int) -> Space:
    """Return the magnitudes of ``names``; ``shifts`` are the largest translations along y and x in px."""
    # In float32 by torch, as torchvision has it: the last bit decides which pixels reach a threshold.
    ramps = {
        "ShearX": torch.linspace(0.0, 0.3, bins),
        "ShearY": torch.linspace(0.0, 0.3, bins),
        "TranslateX": torch.linspace(0.0, shifts[1], bins),
        "TranslateY": torch.linspace(0.0, shifts[0], bins),
        "Rotate": torch.linspace(0.0, 30.0, bins),
        "Posterize": most_bits - (torch.arange(bins) / ((bins - 1) / 4)).round(),
        "Solarize": torch.linspace(255.0, 0.0, bins),
    }
    ramps |= {name: torch.linspace(0.0, 0.9, bins) for name in ENHANCING}
    none = torch.zeros(bins)
    return Space(
        operators=np.array([OPERATORS.index(name) for name in names]),
        magnitudes=torch.stack([ramps.get(name, none) for name in names]).double().numpy(),
        signed=np.array([name in SIGNED for name in names]),
    )
