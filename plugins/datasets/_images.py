"""How every dataset turns an image file into uint8 RGB of one size.

1. Formats: BMP, GIF, JPEG, PNG, PPM/PGM, TIFF, WebP, recognised by content; of several frames the first.
2. The orientation in the EXIF data is applied.
3. Grey is repeated to three channels. 16-bit grey is divided by 257 and rounded, not clipped (Pillow itself
   reduces 16-bit colour to its high byte). A palette is looked up. Transparency is composited on white. CMYK
   and YCbCr are converted by Pillow's formulas, without colour profiles.
4. The centre square is cut out (the odd pixel stays at the right or bottom) and resized by Pillow's bicubic
   filter.

Refused: damaged or truncated files, float, 12-bit and 32-bit images whatever their values, more than 64 megapixels or
1 GiB, what is no regular file.
Of images above 16 megapixels one is decoded at a time, so that threads do not multiply their memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin

#: Pillow's decoders that may see the content; JPEG includes MPO, which some cameras write into ``.jpg``.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: 64 megapixels: a phone's largest photo, and 192 MiB decoded.
MOST_PIXELS = 8192 * 8192
#: Bytes of a file; 64 megapixels of 16-bit colour with transparency fill half of it.
MOST_BYTES = 2**30
#: Pixels from which on images are decoded one at a time.
LARGE_PIXELS = 4096 * 4096
#: Rows that are converted at a time.
STRIP = 512
#: Shorter side in px from which on :func:`inspect` decodes a JPEG at an eighth of its size.
DRAFT_SIDE = 256
#: The tag BitsPerSample.
TIFF_BITS = 258
#: The colour that shows through transparent pixels.
BACKGROUND = (255, 255, 255)
_large = threading.Lock()

In = TypeVar("In")
Out = TypeVar("Out")


class ImageError(ValueError):
    """Why a file cannot be used as an image: a few words, without its name."""


@dataclass(frozen=True)
class ImageFacts:
    """Size and hash of a file that was decoded completely.

    Attributes:
        width: in px, before the EXIF orientation.
        height: in px, before the EXIF orientation.
        digest: first 32 hex digits of the SHA-256 of the file's bytes.
    """

    width: int
    height: int
    digest: str


def inspect(path: Path) -> ImageFacts:
    """Decode a whole file and return its facts.

    Raises:
        ImageError: it cannot be used.
    """
    content = _bytes(path)
    image = _open(content)
    width, height = image.size
    with _turn(image):
        if image.format in ("JPEG", "MPO") and min(image.size) >= DRAFT_SIDE:
            image.draft(None, (1, 1))  # decodes every bit of the stream, but an eighth of the side: three times as fast
        upright(image)
    return ImageFacts(width, height, hashlib.sha256(content).hexdigest()[:32])


def read(path: Path, side: int) -> NDArray[np.uint8]:
    """Return a file as uint8 RGB ``(side, side, 3)`` by the rule of this module.

    Raises:
        ImageError: it cannot be used.
    """
    image = _open(_bytes(path))
    with _turn(image):
        return square(upright(image), side)


def square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return the centre square of an RGB image, resized, as uint8 ``(side, side, 3)``."""
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    if short != max(width, height):
        image = image.crop((left, top, left + short, top + short))
    if short != side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.array(image, dtype=np.uint8)


def _bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")  # a pipe would be waited for without end
        if status.st_size > MOST_BYTES:
            raise ImageError("larger than 1 GiB")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ImageError("a link to nothing" if path.is_symlink() else "no longer there") from None
    except PermissionError:
        raise ImageError("permission denied") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None
    if not content:
        raise ImageError("an empty file")
    return content


def _open(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise ImageError("more than 64 megapixels") from None
    except Exception:  # a decoder may raise anything on damaged bytes
        raise ImageError("not an image, or damaged") from None
    if image.width * image.height > MOST_PIXELS:
        raise ImageError(f"{image.width} x {image.height} px, more than 64 megapixels")
    if image.mode.startswith("I") and (bits := _bits(image)) != 16:  # of another range: small values would turn black
        raise ImageError(f"a {bits}-bit image; save it with 8 or 16 bits per channel")
    return image


def _bits(image: Image.Image) -> int:
    """Return the bits of a grey image for which Pillow has one mode: 12, 16 or 32 in TIFF files, 16 in all others."""
    bits = image.tag_v2.get(TIFF_BITS, 16) if isinstance(image, TiffImagePlugin.TiffImageFile) else 16
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _turn(image: Image.Image) -> contextlib.AbstractContextManager[object]:
    """Return a context manager for decoding: a global lock for large images, so that one is decoded at a time."""
    return _large if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext()


def upright(image: Image.Image) -> Image.Image:
    """Decode an opened image and return it as RGB, turned as its EXIF orientation says.

    Raises:
        ImageError: it cannot be used.
    """
    try:
        image.load()
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise ImageError("truncated" if "truncated" in str(error) else "damaged") from None
    with contextlib.suppress(Exception):  # damaged EXIF data says nothing about the pixels
        ImageOps.exif_transpose(image, in_place=True)  # after decoding: Pillow itself turns a TIFF then
    try:
        return _to_rgb(image)
    except ImageError:
        raise
    except ValueError:
        raise ImageError(f"{image.mode} pixels that cannot become RGB") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ImageError("a float image; save it with 8 or 16 bits per channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = Image.fromarray(_high_bytes(np.asarray(image)))
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image, before = Image.new("RGB", image.size), image
        for top in range(0, image.height, STRIP):  # what is made of 64 megapixels may be large
            clear = before.crop((0, top, image.width, min(top + STRIP, image.height))).convert("RGBA")
            solid = Image.alpha_composite(Image.new("RGBA", clear.size, (*BACKGROUND, 255)), clear)
            image.paste(solid.convert("RGB"), (0, top))
    return image if image.mode == "RGB" else image.convert("RGB")


def _high_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Divide whole numbers 0..65535 by 257 and round."""
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("grey values outside of 0 to 65,535; save it with 8 or 16 bits per channel")
    grey = np.empty(values.shape, dtype=np.uint8)
    for top in range(0, len(values), STRIP):
        # 257 is odd: no value lies halfway, and rounding needs no float.
        grey[top : top + STRIP] = (values[top : top + STRIP].astype(np.int32) + 128) // 257
    return grey


def in_threads(function: Callable[[In], Out], items: Sequence[In]) -> Iterator[Out]:
    """Yield ``function(item)`` in the order of the items; Pillow decodes outside the interpreter lock.

    Pillow's warnings (a large image, odd EXIF data) are silenced: what matters becomes an
    :class:`ImageError`.
    """
    step = 256  # bounds what is decoded and not yet taken
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, len(items), step):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done = list(pool.map(function, items[start : start + step]))
            yield from done
