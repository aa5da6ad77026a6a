"""``ImageSet``: labelled uint8 images with the origin of each, on disk as memory-mapped shards.

NumPy is imported inside the functions: every plugin module imports this one, and `bench list` needs no arrays.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OldFormError
from ..files import drop_pages
from . import origins as tables
from .origins import Origin, Origins

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Bytes of images that are read at once where all of a set are.
PIECE_BYTES = 1 << 24
#: What a learner of an earlier version has to do instead of comparing with labels.
NEW_FORM = "return probabilities=..., float32 (N, classes), and the harness counts the hits"


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one size.

    Attributes:
        images: uint8 ``(N, H, W, 3)``, RGB, 0 to 255; may be memory-mapped and must not be written to.
        labels: int64 ``(N,)``, indices into ``classes``.
        classes: class names, in the order of the labels.
        origins: per image, where it came from (``source``: index of the real image, ``prompt``, ``guidance_scale``,
            ``seed``, ...), JSON values only; empty when nothing is known. Given as a sequence of mappings, or as a
            table: a mapping of columns, or one of PyArrow, pandas or Polars.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    origins: Sequence[Origin] = field(default=())

    def __post_init__(self) -> None:
        import numpy as np

        images, labels = self.images, self.labels
        if not isinstance(self.origins, Sequence):
            object.__setattr__(self, "origins", Origins.of(self.origins))
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be uint8 (N, H, W, 3); got {images.dtype} {tuple(images.shape)}")
        if labels.dtype != np.int64 or labels.shape != (len(images),):
            raise ValueError(f"labels must be int64 ({len(images)},); got {labels.dtype} {tuple(labels.shape)}")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(self.classes)):
            raise ValueError(f"labels must lie in 0..{len(self.classes) - 1}; got {labels.min()}..{labels.max()}")
        if self.origins and len(self.origins) != len(images):
            raise ValueError(f"{len(self.origins)} origins for {len(images)} images")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images per class, int64 ``(len(classes),)``."""
        import numpy as np

        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def with_images(self, images: NDArray[np.uint8]) -> ImageSet:
        """Return the same labels and origins with other pixels."""
        return replace(self, images=images)

    def without_labels(self) -> Images:
        """Return the images alone, as a learner is given those of the test part."""
        return Images(self.images, self.classes)

    def subset(self, indices: NDArray[np.int64] | Sequence[int]) -> ImageSet:
        """Return the images at ``indices``, in that order."""
        import numpy as np

        chosen = np.asarray(indices, dtype=np.int64)
        known: Sequence[Origin] = ()
        if isinstance(self.origins, Origins):
            known = self.origins.take(chosen)
        elif self.origins:
            known = [self.origins[int(i)] for i in chosen]
        return ImageSet(np.asarray(self.images[chosen]), self.labels[chosen], self.classes, known)

    @staticmethod
    def concatenate(parts: Sequence[ImageSet]) -> ImageSet:
        """Join sets of one size and one list of classes."""
        import numpy as np

        if not parts:
            raise ValueError("nothing to concatenate")
        return ImageSet(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.labels for part in parts]),
            parts[0].classes,
            Origins.joined((part.origins, len(part)) for part in parts),
        )

    def save(self, folder: Path) -> None:
        """Write ``images.npy``, ``labels.npy``, ``classes.json`` and ``origins.parquet`` into ``folder``.

        Images that are the whole of a read-only memory-mapped ``.npy`` file are linked where the file system allows
        it, so that a large dataset takes its space once: such a file must never be changed in place.
        """
        import numpy as np

        folder.mkdir(parents=True, exist_ok=True)
        if not _linked(self.images, folder / "images.npy"):
            np.save(folder / "images.npy", self.images, allow_pickle=False)
        save_facts(folder, self.labels, self.classes)
        if known := Origins.of(self.origins):
            tables.save(folder / tables.PARQUET, [known.table], known.table.schema)

    @staticmethod
    def load(folder: Path) -> ImageSet:
        """Open a folder that ``save`` wrote; images and origins stay on disk until they are read."""
        import numpy as np

        opened = Images.load(folder)
        labels = np.load(folder / "labels.npy", allow_pickle=False)
        return ImageSet(opened.images, labels, opened.classes, Origins.load(folder, len(labels)))


@dataclass(frozen=True)
class Images:
    """Images of one size whose labels are not given away.

    Attributes:
        images: uint8 ``(N, H, W, 3)``, RGB, 0 to 255; may be memory-mapped and must not be written to.
        classes: class names, in the order of the labels that they have elsewhere.
    """

    images: NDArray[np.uint8]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Raise ``OldFormError``: learners of earlier versions read labels here."""
        raise OldFormError(f"task.test has no labels; {NEW_FORM}")

    @staticmethod
    def load(folder: Path) -> Images:
        """Open the images of a folder that ``ImageSet.save`` wrote; they stay on disk until they are read."""
        import numpy as np

        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        return Images(images, tuple(json.loads((folder / "classes.json").read_text("utf-8"))))


def _linked(images: NDArray[np.uint8], target: Path) -> bool:
    """Link the file of memory-mapped images to ``target``; ``False`` when it has to be written instead."""
    import numpy as np

    if isinstance(images, np.memmap) and images.mode == "r" and images.filename is not None and len(images):
        file = Path(images.filename)
        with contextlib.suppress(OSError, ValueError):
            whole = np.load(file, mmap_mode="r", allow_pickle=False)
            # A view of some of the images, or of them in another order, has another shape or other strides.
            if (whole.shape, whole.strides, whole.dtype) == (images.shape, images.strides, images.dtype):
                if target.exists() and file.samefile(target):
                    return True
                target.unlink(missing_ok=True)
                os.link(file, target)
                return True
    target.unlink(missing_ok=True)  # it may be linked to by others: what is there is left, not written over
    return False


def save_facts(folder: Path, labels: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Write what a set of images has besides its images and origins."""
    import numpy as np

    np.save(folder / "labels.npy", labels, allow_pickle=False)
    (folder / "classes.json").write_text(json.dumps(list(classes)) + "\n", "utf-8")


def npy_header(shape: Sequence[int]) -> bytes:
    """Return how an ``.npy`` file of uint8 images of this shape begins; its length does not depend on their number."""
    from io import BytesIO

    from numpy.lib.format import write_array_header_1_0

    begun = BytesIO()
    write_array_header_1_0(begun, {"descr": "|u1", "fortran_order": False, "shape": tuple(shape)})
    return begun.getvalue()


def merge_shards(folders: Iterable[Path], target: Path) -> int:
    """Join saved sets into one at ``target``, one after the other; returns the number of images.

    Raises:
        ValueError: there is none.
    """
    import numpy as np

    parts = [ImageSet.load(folder) for folder in folders]
    if not parts:
        raise ValueError("nothing to merge")
    total = sum(map(len, parts))
    target.mkdir(parents=True, exist_ok=True)
    with (target / "images.npy").open("wb") as stream:  # not a memory map, which a full disk turns into a crash
        stream.write(npy_header((total, *parts[0].images.shape[1:])))
        for piece in (piece for part in parts for piece in pieces(part.images)):
            stream.write(np.ascontiguousarray(piece).data)
    save_facts(target, np.concatenate([part.labels for part in parts]), parts[0].classes)
    if known := Origins.joined((part.origins, len(part)) for part in parts):
        tables.save(target / tables.PARQUET, [known.table], known.table.schema)
    return total


def pieces(
    images: NDArray[np.uint8], shown: Callable[[list[range]], Iterable[range]] = iter
) -> Iterator[NDArray[np.uint8]]:
    """Yield images in order, some megabytes at once; of a memory map no more than that stays in memory.

    Args:
        images: uint8 ``(N, H, W, 3)``.
        shown: yields the ranges of images that it is given, and shows how far that is.
    """
    import numpy as np

    plain = np.asarray(images)  # every item of a memory map is one too, which costs more than most uses of it
    for part in shown(list(batches(len(plain), max(1, PIECE_BYTES // max(1, plain[:1].nbytes))))):
        yield plain[part.start : part.stop]
        drop_pages(images)


def batches(count: int, size: int) -> Iterator[range]:
    """Split ``range(count)`` into consecutive ranges of at most ``size``."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
