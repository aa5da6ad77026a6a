"""What each image of a batch goes through, drawn on the host, and how a batch is put through it.

Images that need the same operator are brought side by side, so that an operator runs once per batch and not once per
image; the five geometric ones share one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from . import _geometry, _operators

#: Operators in the order in which a batch is sorted; a plan holds positions in this tuple.
OPERATORS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
    "Invert",
)
IDENTITY = OPERATORS.index("Identity")

#: Images at once on a CPU hold at most so many pixels: their float copies then stay in its cache.
PIXELS = 1 << 16

Matrices = Callable[[NDArray[np.float64], int, int], NDArray[np.float64]]
Colours = Callable[[torch.Tensor, NDArray[np.float64]], torch.Tensor]

_MATRICES: dict[int, Matrices] = {
    OPERATORS.index("ShearX"): _geometry.shear_x,
    OPERATORS.index("ShearY"): _geometry.shear_y,
    OPERATORS.index("TranslateX"): _geometry.translate_x,
    OPERATORS.index("TranslateY"): _geometry.translate_y,
    OPERATORS.index("Rotate"): _geometry.rotate,
}
_COLOURS: dict[int, Colours] = {
    OPERATORS.index("Brightness"): _operators.brightness,
    OPERATORS.index("Color"): _operators.color,
    OPERATORS.index("Contrast"): _operators.contrast,
    OPERATORS.index("Sharpness"): _operators.sharpness,
    OPERATORS.index("Posterize"): _operators.posterize,
    OPERATORS.index("Solarize"): _operators.solarize,
    OPERATORS.index("AutoContrast"): _operators.autocontrast,
    OPERATORS.index("Equalize"): _operators.equalize,
    OPERATORS.index("Invert"): _operators.invert,
}
_FIRST, _LAST = min(_MATRICES), max(_MATRICES)


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
    start, stop = np.searchsorted(operators, (_FIRST, _LAST + 1)).tolist()
    maps = _matrices(operators[start:stop], magnitudes[start:stop], *images.shape[-2:])
    for piece in pieces(images, start, stop):
        inner = slice(piece.start - start, piece.stop - start)
        images[piece] = _geometry.resample(images[piece], maps[inner], interpolation)
    for operator, function in _COLOURS.items():
        start, stop = np.searchsorted(operators, (operator, operator + 1)).tolist()
        for piece in pieces(images, start, stop):
            images[piece] = function(images[piece], magnitudes[piece])


def _matrices(
    operators: NDArray[np.int64], magnitudes: NDArray[np.float64], height: int, width: int
) -> NDArray[np.float64]:
    """Return the affine map of each image, ``(n, 2, 3)``."""
    maps = _geometry.identities(len(operators))
    for operator, matrices in _MATRICES.items():
        chosen = operators == operator
        maps[chosen] = matrices(magnitudes[chosen], height, width)
    return maps
