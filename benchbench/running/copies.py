"""Test images among those that a classifier trains on: equal in every pixel, or nearly.

They are counted when a dataset is read and for each training. No image is left out for it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..plugins.images import ImageSet
from ..statistics.near import near, thumbnails
from ..statistics.overlap import copies_of, known_digests, shared_with_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..plugins.context import Context

#: In the folder of the training part: which of its images are like a test image without being equal to one.
NEAR = "near-test.npy"


def in_dataset(folder: Path, context: Context) -> dict[str, int]:
    """Return how many test images a dataset has in its other parts; keep which training images are like one.

    Args:
        folder: of the data step, with the saved parts and their digests.
        context: of the step, for progress.

    Returns:
        As :func:`~benchbench.statistics.overlap.shared_with_test`, and of the test images that are not among these
        ``near_in_train`` and ``near_in_validation``: how many are like an image of that part.
    """
    facts = shared_with_test({name: known_digests(folder / name) for name in ("train", "validation", "test")})
    for name in ("train", "validation"):
        ours, theirs = _near(folder / name, folder / "test", context)
        facts[f"near_in_{name}"] = int(theirs.sum())
        if name == "train":
            np.save(folder / name / NEAR, ours, allow_pickle=False)
    return facts


def in_training(
    data: Path, rows: NDArray[np.int64] | slice | None, synthetic: Path | None, context: Context
) -> dict[str, int]:
    """Return ``test_copies`` and ``near_copies``: training images that equal a test image, or are like one only.

    Args:
        data: folder of the data step.
        rows: real images that were trained on, ``None`` for none.
        synthetic: folder of the generated images that were trained on, if any.
        context: of the step, for progress.
    """
    test, exact, alike = known_digests(data / "test"), 0, 0
    if rows is not None:
        exact += copies_of(test, [known_digests(data / "train")[rows]])
        alike += int(_near_in_train(data, context)[rows].sum())
    if synthetic is not None:
        made = known_digests(synthetic)
        exact += copies_of(test, [made])
        alike += int(_near(synthetic, data / "test", context)[0].sum())
    return {"test_copies": exact, "near_copies": alike}


def _near_in_train(data: Path, context: Context) -> NDArray[np.bool_]:
    if not (data / "train" / NEAR).exists():  # read before near copies were looked for
        return _near(data / "train", data / "test", context)[0]
    kept: NDArray[np.bool_] = np.load(data / "train" / NEAR, allow_pickle=False)
    return kept


def _near(part: Path, test: Path, context: Context) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which images of a part are like a test image without being equal to one, and which test images so."""
    shown = functools.partial(context.progress, label="looking for near copies", unit="part")
    ours, theirs = near(ImageSet.load(part).images, thumbnails(ImageSet.load(test).images), shown)
    known, tested = known_digests(part), known_digests(test)
    return ours & ~np.isin(known, tested), theirs & ~np.isin(tested, known)
