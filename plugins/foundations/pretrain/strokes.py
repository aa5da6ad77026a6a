"""Pen strokes: skeletons of digits and letters, shaken, slanted and drawn with a round pen.

Several skeletons per digit follow the ways people write it (open and closed four, crossed seven, one with and
without a flag or a foot). Coordinates are (x, y) in the unit square, y downwards.
"""

import numpy as np
from numpy.typing import NDArray

Points = tuple[tuple[float, float], ...]
# A skeleton is a list of strokes; a smooth stroke is a spline through its points, a straight one a polyline.
Stroke = tuple[bool, Points]


def _smooth(*points: tuple[float, float]) -> Stroke:
    return True, points


def _lines(*points: tuple[float, float]) -> Stroke:
    return False, points


_OVAL = _smooth(
    (0.5, 0.04), (0.22, 0.18), (0.12, 0.5), (0.22, 0.84), (0.5, 0.96), (0.78, 0.84), (0.88, 0.5), (0.78, 0.18), (0.5, 0.04)
)  # fmt: skip

SKELETONS: dict[str, tuple[tuple[Stroke, ...], ...]] = {
    "0": (
        (_OVAL,),
        (_smooth((0.6, 0.06), (0.3, 0.14), (0.14, 0.45), (0.2, 0.8), (0.45, 0.96), (0.75, 0.82), (0.86, 0.5), (0.76, 0.2), (0.5, 0.05), (0.4, 0.1)),),
        (_smooth((0.5, 0.04), (0.3, 0.18), (0.25, 0.5), (0.3, 0.82), (0.5, 0.96), (0.7, 0.82), (0.75, 0.5), (0.7, 0.18), (0.5, 0.04)),),
    ),
    "1": (
        (_lines((0.5, 0.04), (0.5, 0.96)),),
        (_lines((0.25, 0.3), (0.56, 0.05), (0.56, 0.96)),),
        (_lines((0.25, 0.3), (0.52, 0.05), (0.52, 0.95)), _lines((0.25, 0.95), (0.8, 0.95))),
        (_lines((0.32, 0.42), (0.62, 0.05), (0.55, 0.96)),),
        (_lines((0.4, 0.15), (0.53, 0.05), (0.53, 0.96)), _lines((0.35, 0.96), (0.7, 0.96))),
    ),
    "2": (
        (_smooth((0.18, 0.28), (0.3, 0.08), (0.6, 0.05), (0.8, 0.26), (0.66, 0.52), (0.38, 0.76), (0.15, 0.95)), _lines((0.15, 0.95), (0.88, 0.95))),
        (_smooth((0.18, 0.25), (0.38, 0.05), (0.7, 0.12), (0.74, 0.38), (0.52, 0.7), (0.25, 0.93), (0.14, 0.84), (0.3, 0.77), (0.55, 0.9), (0.88, 0.9)),),
        (_smooth((0.2, 0.12), (0.55, 0.05), (0.8, 0.2), (0.65, 0.5), (0.2, 0.93)), _lines((0.2, 0.93), (0.85, 0.96))),
        (_smooth((0.2, 0.2), (0.5, 0.04), (0.76, 0.2), (0.6, 0.6), (0.2, 0.9)), _smooth((0.2, 0.9), (0.45, 0.84), (0.65, 0.95), (0.9, 0.86))),
    ),
    "3": (
        (_smooth((0.18, 0.16), (0.5, 0.04), (0.78, 0.2), (0.66, 0.42), (0.4, 0.48)), _smooth((0.4, 0.48), (0.74, 0.55), (0.82, 0.76), (0.52, 0.96), (0.15, 0.84))),
        (_lines((0.2, 0.07), (0.8, 0.07), (0.45, 0.42)), _smooth((0.45, 0.42), (0.76, 0.52), (0.82, 0.78), (0.5, 0.96), (0.16, 0.84))),
        (_smooth((0.2, 0.1), (0.6, 0.04), (0.76, 0.24), (0.5, 0.46), (0.4, 0.5), (0.7, 0.54), (0.8, 0.75), (0.55, 0.95), (0.2, 0.92)),),
        (_smooth((0.22, 0.06), (0.7, 0.1), (0.66, 0.36), (0.34, 0.48), (0.72, 0.6), (0.74, 0.86), (0.2, 0.95)),),
    ),
    "4": (
        (_lines((0.3, 0.05), (0.14, 0.6), (0.88, 0.6)), _lines((0.66, 0.3), (0.6, 0.96))),
        (_lines((0.66, 0.96), (0.66, 0.04), (0.12, 0.66), (0.9, 0.66)),),
        (_smooth((0.22, 0.05), (0.18, 0.35), (0.35, 0.52), (0.78, 0.46)), _lines((0.78, 0.05), (0.74, 0.96))),
        (_lines((0.55, 0.04), (0.12, 0.72), (0.88, 0.68)), _lines((0.62, 0.42), (0.55, 0.96))),
        (_lines((0.2, 0.06), (0.2, 0.5), (0.8, 0.5)), _lines((0.78, 0.06), (0.78, 0.96))),
    ),
    "5": (
        (_lines((0.8, 0.06), (0.3, 0.06), (0.25, 0.44)), _smooth((0.25, 0.44), (0.56, 0.38), (0.82, 0.6), (0.72, 0.88), (0.4, 0.96), (0.15, 0.86))),
        (_smooth((0.82, 0.08), (0.45, 0.06), (0.25, 0.24), (0.48, 0.44), (0.78, 0.64), (0.62, 0.92), (0.2, 0.92)),),
        (_lines((0.3, 0.05), (0.26, 0.46)), _smooth((0.26, 0.46), (0.6, 0.42), (0.8, 0.68), (0.55, 0.95), (0.16, 0.9)), _lines((0.3, 0.06), (0.85, 0.05))),
        (_lines((0.85, 0.05), (0.35, 0.08), (0.22, 0.5)), _smooth((0.22, 0.5), (0.65, 0.44), (0.7, 0.78), (0.2, 0.96))),
    ),
    "6": (
        (_smooth((0.7, 0.06), (0.4, 0.24), (0.2, 0.6), (0.28, 0.9), (0.6, 0.95), (0.8, 0.75), (0.64, 0.55), (0.4, 0.58), (0.22, 0.76)),),
        (_smooth((0.55, 0.04), (0.28, 0.4), (0.22, 0.78), (0.45, 0.96), (0.74, 0.85), (0.72, 0.6), (0.48, 0.54), (0.24, 0.7)),),
        (_lines((0.35, 0.04), (0.22, 0.7)), _smooth((0.22, 0.7), (0.35, 0.95), (0.7, 0.92), (0.78, 0.7), (0.55, 0.55), (0.24, 0.72))),
    ),
    "7": (
        (_lines((0.15, 0.07), (0.85, 0.07), (0.4, 0.96)),),
        (_lines((0.15, 0.07), (0.85, 0.07), (0.42, 0.96)), _lines((0.28, 0.5), (0.78, 0.48))),
        (_lines((0.15, 0.25), (0.18, 0.07), (0.82, 0.09), (0.48, 0.96)),),
        (_smooth((0.15, 0.12), (0.45, 0.05), (0.82, 0.1), (0.62, 0.45), (0.5, 0.96)),),
        (_smooth((0.14, 0.16), (0.4, 0.06), (0.8, 0.12), (0.6, 0.5), (0.5, 0.96)), _lines((0.34, 0.52), (0.85, 0.46))),
    ),
    "8": (
        (_smooth((0.74, 0.16), (0.5, 0.04), (0.26, 0.2), (0.4, 0.42), (0.7, 0.62), (0.78, 0.8), (0.5, 0.96), (0.22, 0.8), (0.32, 0.6), (0.64, 0.42), (0.77, 0.22), (0.68, 0.1)),),
        (_smooth((0.5, 0.04), (0.26, 0.14), (0.28, 0.4), (0.5, 0.47), (0.72, 0.4), (0.74, 0.14), (0.5, 0.04)), _smooth((0.5, 0.47), (0.22, 0.6), (0.22, 0.86), (0.5, 0.96), (0.78, 0.86), (0.78, 0.6), (0.5, 0.47))),
        (_smooth((0.8, 0.06), (0.4, 0.08), (0.28, 0.3), (0.62, 0.6), (0.66, 0.88), (0.36, 0.94), (0.28, 0.72), (0.6, 0.42), (0.82, 0.06)),),
    ),
    "9": (
        (_smooth((0.75, 0.25), (0.55, 0.05), (0.26, 0.18), (0.28, 0.44), (0.55, 0.5), (0.75, 0.26)), _lines((0.75, 0.26), (0.7, 0.96))),
        (_smooth((0.75, 0.26), (0.54, 0.05), (0.25, 0.18), (0.27, 0.45), (0.55, 0.5), (0.75, 0.26), (0.76, 0.6), (0.58, 0.92), (0.25, 0.9)),),
        (_smooth((0.76, 0.12), (0.45, 0.05), (0.24, 0.28), (0.42, 0.5), (0.7, 0.36), (0.77, 0.12)), _smooth((0.77, 0.12), (0.72, 0.55), (0.45, 0.96))),
    ),
    "A": ((_lines((0.12, 0.96), (0.5, 0.04), (0.88, 0.96)), _lines((0.26, 0.62), (0.75, 0.62))),),
    "C": ((_smooth((0.84, 0.2), (0.55, 0.04), (0.22, 0.24), (0.16, 0.6), (0.38, 0.94), (0.84, 0.82)),),),
    "E": ((_lines((0.82, 0.06), (0.2, 0.06), (0.2, 0.95), (0.84, 0.95)), _lines((0.2, 0.48), (0.72, 0.48))),),
    "F": ((_lines((0.82, 0.06), (0.22, 0.06), (0.22, 0.96)), _lines((0.22, 0.48), (0.72, 0.48))),),
    "H": ((_lines((0.18, 0.05), (0.18, 0.96)), _lines((0.82, 0.05), (0.82, 0.96)), _lines((0.18, 0.5), (0.82, 0.5))),),
    "J": ((_smooth((0.7, 0.05), (0.7, 0.7), (0.45, 0.96), (0.18, 0.78)),),),
    "K": ((_lines((0.2, 0.05), (0.2, 0.96)), _lines((0.82, 0.06), (0.22, 0.55), (0.85, 0.96))),),
    "L": ((_lines((0.24, 0.05), (0.24, 0.95), (0.84, 0.95)),),),
    "M": ((_lines((0.1, 0.96), (0.16, 0.05), (0.5, 0.65), (0.84, 0.05), (0.9, 0.96)),),),
    "N": ((_lines((0.16, 0.96), (0.16, 0.05), (0.82, 0.96), (0.82, 0.05)),),),
    "P": ((_lines((0.22, 0.96), (0.22, 0.06)), _smooth((0.22, 0.06), (0.7, 0.1), (0.76, 0.36), (0.55, 0.52), (0.22, 0.52))),),
    "S": ((_smooth((0.8, 0.16), (0.5, 0.04), (0.22, 0.22), (0.48, 0.46), (0.78, 0.7), (0.55, 0.95), (0.18, 0.84)),),),
    "T": ((_lines((0.12, 0.06), (0.88, 0.06)), _lines((0.5, 0.06), (0.5, 0.96))),),
    "U": ((_smooth((0.18, 0.05), (0.18, 0.6), (0.34, 0.93), (0.66, 0.93), (0.82, 0.6), (0.82, 0.05)),),),
    "V": ((_lines((0.14, 0.05), (0.5, 0.96), (0.86, 0.05)),),),
    "W": ((_lines((0.06, 0.05), (0.28, 0.96), (0.5, 0.3), (0.72, 0.96), (0.94, 0.05)),),),
    "X": ((_lines((0.14, 0.05), (0.86, 0.96)), _lines((0.86, 0.05), (0.14, 0.96))),),
    "Y": ((_lines((0.14, 0.05), (0.5, 0.5), (0.86, 0.05)), _lines((0.5, 0.5), (0.5, 0.96))),),
    "Z": ((_lines((0.16, 0.06), (0.84, 0.06), (0.14, 0.95), (0.86, 0.95)),),),
    "b": ((_lines((0.24, 0.04), (0.24, 0.94)), _smooth((0.24, 0.6), (0.5, 0.45), (0.78, 0.6), (0.72, 0.9), (0.45, 0.96), (0.24, 0.85))),),
    "d": ((_lines((0.76, 0.04), (0.76, 0.96)), _smooth((0.76, 0.6), (0.5, 0.45), (0.24, 0.62), (0.26, 0.88), (0.52, 0.95), (0.76, 0.82))),),
    "e": ((_smooth((0.2, 0.52), (0.75, 0.48), (0.7, 0.2), (0.42, 0.16), (0.2, 0.5), (0.36, 0.86), (0.8, 0.76)),),),
    "h": ((_lines((0.24, 0.04), (0.24, 0.96)), _smooth((0.24, 0.62), (0.5, 0.44), (0.74, 0.58), (0.76, 0.96))),),
}  # fmt: skip


def _trace(stroke: Stroke, points: NDArray[np.float64], per_segment: int) -> NDArray[np.float64]:
    """Sample a stroke through `points`: a Catmull-Rom spline when smooth, else the polyline itself."""
    if not stroke[0] or len(points) < 3:
        return points
    closed = bool(np.allclose(stroke[1][0], stroke[1][-1]))
    first = points[-2] if closed else 2 * points[0] - points[1]
    last = points[1] if closed else 2 * points[-1] - points[-2]
    padded = np.concatenate([first[None], points, last[None]])
    t = np.linspace(0, 1, per_segment, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return np.concatenate([*pieces, points[-1:]])


def _shaken(stroke: Stroke, rng: np.random.Generator, jitter: float) -> NDArray[np.float64]:
    """Move every control point a little; the ends of a closed stroke may part, as they do on paper."""
    points = np.asarray(stroke[1], dtype=np.float64)
    return points + rng.normal(0.0, jitter, points.shape)


def draw(char: str, rng: np.random.Generator, size: int = 48, box: float = 34.0) -> NDArray[np.uint8]:
    """Draw `char` once with a random skeleton, hand and pen.

    Args:
        char: a key of SKELETONS.
        rng: the source of all randomness.
        size: height and width of the mask in pixels.
        box: height of the character in pixels; the width follows the hand.

    Returns:
        A uint8 mask `(size, size)`, 0 is paper and 255 is ink.

    """
    skeleton = SKELETONS[char][rng.integers(len(SKELETONS[char]))]
    jitter = rng.uniform(0.015, 0.05)
    lines = [_trace(stroke, _shaken(stroke, rng, jitter), 7) for stroke in skeleton]
    width = rng.uniform(0.55, 0.95)
    slant = rng.normal(0.0, 0.15)
    segments = []
    for line in lines:
        centred = line - 0.5
        x = centred[:, 0] * width - slant * centred[:, 1]
        at = np.stack([x, centred[:, 1]], axis=1) * box + size / 2
        segments.append(np.concatenate([at[:-1], at[1:]], axis=1))
    pen = rng.uniform(1.3, 4.2) * box / 34.0
    return _ink(np.concatenate(segments), pen, rng.uniform(0.0, 0.25), size)


def _ink(segments: NDArray[np.float64], pen: float, pressure: float, size: int) -> NDArray[np.uint8]:
    """Ink the pixels whose distance to a segment `(x0, y0, x1, y1)` is below the pen's radius."""
    centres = np.arange(size, dtype=np.float64) + 0.5
    grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 1, 2)
    start, along = segments[None, :, :2], segments[None, :, 2:] - segments[None, :, :2]
    t = ((grid - start) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9)
    nearest = start + along * t.clip(0, 1)[..., None]
    distance = np.sqrt(((grid - nearest) ** 2).sum(-1))
    # Pressure fades along the writing, so that a stroke ends thinner than it began.
    radius = pen / 2 * (1 - pressure * np.linspace(0, 1, segments.shape[0]))
    ink = (radius[None] - distance + 0.5).clip(0, 1).max(axis=1)
    return (ink.reshape(size, size) * 255).round().astype(np.uint8)
