"""From the bytes of a picture file to uint8 RGB, by the rule that datasets read from files follow, and to embeddings.

BMP, GIF, JPEG, PNG, PPM, TIFF and WebP are recognised by content; of several frames the first is taken; the EXIF
orientation is applied, grey and palettes become RGB, 16-bit grey is scaled, transparency is put on white. Damaged or
truncated data and more than 64 megapixels are refused before anything large is decoded.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....datasets import _images
from . import MOST_BYTES

if TYPE_CHECKING:
    from benchbench.models.clip.model import Clip


def decoded(content: bytes, before: str = "") -> NDArray[np.uint8] | str:
    """Return the bytes of a whole file as uint8 RGB ``(H, W, 3)``, or why they cannot be used as a picture.

    The reason is ``before`` and a few words, without a name.
    """
    try:
        if not content:
            raise _images.ImageError("an empty file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters becomes an error
            return np.array(_images.upright(_images._open(content)), dtype=np.uint8)
    except _images.ImageError as problem:
        return f"{before}{problem}"
    except Exception:  # a conversion may raise anything on damaged palettes and profiles
        return f"{before}damaged"


def read_picture(file: Path, before: str = "") -> NDArray[np.uint8] | str:
    """Return the picture in a file, or why there is none; see :func:`decoded`."""
    try:
        if file.stat().st_size > MOST_BYTES:
            return f"more than {MOST_BYTES / 2**20:.0f} MiB"
        return decoded(file.read_bytes(), before)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def digest_of(content: bytes) -> str:
    """Return the first 32 hex digits of the SHA-256 of a file's bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


def pixel_digest(pixels: NDArray[np.uint8]) -> str:
    """Return what two pictures share when they agree in size and in every pixel: 32 hex digits."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()[:32]


def fit_into(pixels: NDArray[np.uint8], side: int, rule: str) -> NDArray[np.uint8]:
    """Bring a picture of any shape to uint8 ``(side, side, 3)`` with Pillow's antialiased bicubic filter.

    Args:
        pixels: uint8 ``(H, W, 3)``.
        side: in px.
        rule: ``"crop"`` cuts out the centre square; ``"pad"`` keeps the whole picture and fills up with white, as
            img2dataset's ``resize_mode=border`` does; ``"squash"`` ignores the aspect ratio.
    """
    image = Image.fromarray(pixels)
    if rule == "crop":
        return _images.square(image, side)
    if rule == "squash" or image.width == image.height:
        return np.array(image.resize((side, side), Image.Resampling.BICUBIC), dtype=np.uint8)
    scale = side / max(image.size)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (side, side), _images.BACKGROUND)
    resized = image.resize(inner, Image.Resampling.BICUBIC)
    canvas.paste(resized, ((side - inner[0]) // 2, (side - inner[1]) // 2))
    return np.array(canvas, dtype=np.uint8)


def embed_pictures(clip: Clip, pictures: Sequence[NDArray[np.uint8]], batch: int) -> NDArray[np.float32]:
    """Return one unit row for each picture, float32 ``(n, width)``.

    Each picture's centre square is brought to the model's own input size with Pillow's antialiased bicubic filter, as
    CLIP's preprocessing does (Radford et al. 2021), so that a query equal to a picture of the pool has similarity 1.

    Args:
        clip: an opened CLIP.
        pictures: uint8 ``(H, W, 3)``, each of any size.
        batch: pictures at a time.
    """
    if not pictures:
        return np.zeros((0, clip.width), dtype=np.float32)
    return clip.encode_images(np.stack([fit_into(item, clip.resolution, "crop") for item in pictures]), batch=batch)
