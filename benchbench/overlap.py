"""Whether images that a classifier trains on are also among those that it is tested on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from .images import ImageSet


def copies_of(test: ImageSet, parts: Iterable[ImageSet | None]) -> int:
    """Return how many images of ``parts`` equal a test image in every pixel.

    A pool that holds the test images, or a split that overlaps, makes an accuracy worthless; a generator never sees
    the test images and cannot look for itself.
    """
    known = {_digest(image) for image in test.images}
    return sum(_digest(image) in known for part in parts if part is not None for image in part.images)


def _digest(image: object) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()  # type: ignore[attr-defined]
