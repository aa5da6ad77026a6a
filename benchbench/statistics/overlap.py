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

#: Side of the thumbnails that :mod:`benchbench.statistics.near` compares in px, and the least correlation of two that
#: are alike.
SIDE, LIKENESS = 8, 0.995
#: What is said of them.
NEARLY = f"nearly equal {{}} (thumbnails of {SIDE}x{SIDE} px correlate by {LIKENESS} or more)"
_PARTS = {"training": "train", "validation": "validation"}
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


def shared_notes(facts: Mapping[str, int]) -> list[str]:
    """Return what was found as sentences, none where nothing is shared.

    Args:
        facts: ``test_in_train``, ``test_in_validation``, ``near_in_train``, ``near_in_validation``; 0 if left out.
    """
    how = {"test": "equal another in every pixel", "near": NEARLY.format("another")}
    return [f"Test images that {words}: {pairs}." for kind, words in how.items() if (pairs := _pairs(kind, facts))]


def _pairs(kind: str, facts: Mapping[str, int]) -> str:
    counts = {part: facts.get(f"{kind}_in_{key}", 0) for part, key in _PARTS.items()}
    return " and ".join(f"{count:,} with a {part} image" for part, count in counts.items() if count)


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
