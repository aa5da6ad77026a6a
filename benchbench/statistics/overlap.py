"""Whether images that a classifier trains on are also among those that it is tested on.

Images are compared by a hash of their pixels, 8 bytes each: a pool of a million images and a hundred thousand test
images meet by chance once in a hundred million times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..plugins.images import ImageSet

#: In the folder of a set of images: their hashes, so that no training has to make them again.
DIGESTS = "digests.npy"


def digests(images: ImageSet, shown: Callable[[list[range]], Iterable[range]] = iter) -> NDArray[np.uint64]:
    """Return a hash of each image's pixels, uint64 ``(N,)``.

    Args:
        images: may be on disk; little of it is in memory at once.
        shown: yields the ranges of images that it is given, and shows how far that is.
    """
    import numpy as np

    from ..plugins.images import pieces

    hashes = (
        int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "big")
        for piece in pieces(images.images, shown)
        for image in piece
    )
    return np.fromiter(hashes, dtype=np.uint64, count=len(images))


def shared_with_test(parts: Mapping[str, NDArray[np.uint64]]) -> dict[str, int]:
    """Return how many test images equal an image of the training and of the validation part in every pixel.

    Args:
        parts: the :func:`digests` of ``"train"``, ``"validation"`` and ``"test"``.

    Returns:
        ``{"test_in_train": n, "test_in_validation": m}``; both 0 says that it was looked for.
    """
    import numpy as np

    return {f"test_in_{name}": int(np.isin(parts["test"], parts[name]).sum()) for name in ("train", "validation")}


def shared_text(in_train: int, in_validation: int) -> str:
    """Return what was found as a sentence, empty when nothing is shared."""
    counts = {"training": in_train, "validation": in_validation}
    pairs = " and ".join(f"{count:,} with a {name} image" for name, count in counts.items() if count)
    return f"Test images that equal another in every pixel: {pairs}." if pairs else ""


def known_digests(folder: Path) -> NDArray[np.uint64]:
    """Return the digests of a saved set of images: those that lie next to it, else made from the images."""
    import numpy as np

    from ..plugins.images import ImageSet

    path = folder / DIGESTS
    return np.load(path, allow_pickle=False) if path.exists() else digests(ImageSet.load(folder))


def copies_of(known: NDArray[np.uint64], parts: Iterable[NDArray[np.uint64]]) -> int:
    """Return how many images of ``parts`` equal a test image in every pixel.

    A pool that holds the test images, or a split that overlaps, makes an accuracy worthless; a generator never sees
    the test images and cannot look for itself.

    Args:
        known: the :func:`digests` of the test images.
        parts: those of what is trained on.
    """
    import numpy as np

    return sum(int(np.isin(part, known).sum()) for part in parts)
