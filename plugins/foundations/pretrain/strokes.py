"""Pen strokes: skeletons of digits and letters, shaken, slanted and drawn with a round pen."""

import numpy as np
from numpy.typing import NDArray

from .skeletons import SKELETONS, Stroke, parse


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
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
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
    skeleton = parse(SKELETONS[char][rng.integers(len(SKELETONS[char]))])
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
