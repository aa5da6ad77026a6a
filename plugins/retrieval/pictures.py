"""From the bytes of a picture file to uint8 RGB, by the rule that datasets read from files follow as well.

BMP, GIF, JPEG, PNG, PPM, TIFF and WebP are told by content; of several frames the first is taken; the EXIF
orientation is applied, grey and palettes become RGB, 16-bit grey is scaled, transparency is put on white. Damaged or
truncated data and more than 64 megapixels are refused before anything large is decoded.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets import _images
from .backend import MOST_PIXELS

__all__ = ["PictureError", "decode", "digest_of", "fit_into", "pixel_digest"]

#: Why bytes cannot be used as a picture: a few words.
PictureError = _images.ImageError
#: Ways to bring a picture of any shape into a square.
RULES = ("crop", "pad", "squash")


def decode(content: bytes, *, max_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Return a picture as uint8 RGB ``(H, W, 3)``.

    Args:
        content: the whole file.
        max_pixels: largest width times height, at most 64 megapixels.

    Raises:
        PictureError: it cannot be used; a few words, without a name.
    """
    if not content:
        raise PictureError("an empty file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters becomes an error
        image = _images._open(content)
        if image.width * image.height > max_pixels:
            raise PictureError(f"{image.width} x {image.height} px, more than {max_pixels:,} pixels")
        image = _images._decode(image)
        upright = _images.TURNS.get(_images._orientation(image))
        if upright is not None:
            image, before = image.transpose(upright), image
            image.info = before.info  # a transparent colour is kept there
        try:
            return np.array(_images._to_rgb(image), dtype=np.uint8)
        except PictureError:
            raise
        except Exception:  # a conversion may raise anything on damaged palettes and profiles
            raise PictureError("damaged") from None


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
        return np.array(_resized(image, (side, side)), dtype=np.uint8)
    scale = side / max(image.size)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (side, side), _images.BACKGROUND)
    canvas.paste(_resized(image, inner), ((side - inner[0]) // 2, (side - inner[1]) // 2))
    return np.array(canvas, dtype=np.uint8)


def stack(pictures: Sequence[NDArray[np.uint8]], side: int, rule: str) -> NDArray[np.uint8]:
    """Return pictures as one array uint8 ``(n, side, side, 3)``."""
    if not pictures:
        return np.zeros((0, side, side, 3), dtype=np.uint8)
    return np.stack([fit_into(item, side, rule) for item in pictures])


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
