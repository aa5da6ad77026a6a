"""``stl10``: 13,000 labelled photos of ten kinds of animals and vehicles."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchbench.errors import UsageError
from benchbench.plugins import DatasetInfo

from ._arrays import LocalFiles, TorchvisionArrays, blocks, no_images, reading
from ._published import Release, with_article

if TYPE_CHECKING:
    from ._cache import Source

SIDE = 96
#: Bytes of one image: three channels, each column after column.
IMAGE = 3 * SIDE * SIDE
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@dataclass(frozen=True)
class STL10(TorchvisionArrays):
    """Photos of ten kinds of animals and vehicles, 96x96 RGB; 5,000 train, 8,000 test, balanced.

    The labelled part only: the 100,000 unlabeled images and the ten folds of the training part are not used, as in
    Diffusion Inversion, Zhou et al. 2023. Read from ``stl10_binary.tar.gz``, whose checksum is verified and of which
    only the labelled images are unpacked, or from ``stl10_binary``, whose files are compared with the published
    ones; a difference is noted. There is no validation part. Images are in the published order. Images are generated
    at 256 px; prompts are "a photo of an airplane.".
    """

    release: ClassVar[Release] = Release(
        info=DatasetInfo(
            name="stl10",
            classes=CLASSES,
            counts={"train": 5000, "validation": 0, "test": 8000},
            class_counts=(500,) * 10,
            resolution=SIDE,
            classify_resolution=SIDE,
            generate_resolution=256,
            mean=(0.4467, 0.4398, 0.4066),
            std=(0.2603, 0.2566, 0.2713),
            flip_keeps_class=True,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt="a photo of {}.",
            prompt_names=tuple(with_article(name) for name in CLASSES),
            group_size=100,
            licence="none stated by the authors (images from ImageNet)",
            source="STL-10 (Coates, Lee and Ng 2011), as torchvision.datasets.STL10 fetches it",
            paper="Diffusion Inversion, Zhou et al. 2023, Fig. 1, 6, 7b, 7c and 8, Tables 2 to 10",
        ),
        title="STL-10",
        url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        archive="stl10_binary.tar.gz",
        folder="stl10_binary",
        library="torchvision",
        files=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
        optional=("class_names.txt",),
        first_label=1,
    )

    def _read(self, local: LocalFiles, scratch: Path) -> dict[str, Source]:
        library, folder = self._library, self._folder(local, scratch)
        _check_files(folder, self.release, self._subject)
        if folder.name != library.base_folder:  # a renamed folder
            (scratch / library.base_folder).symlink_to(folder.absolute(), target_is_directory=True)
            folder = scratch / library.base_folder
        parts = {name: _part(library, folder.parent, name, self._subject) for name in ("train", "test")}
        return {**parts, "validation": no_images(SIDE)}


def _part(library: Any, root: Path, name: str, subject: str) -> Source:
    import numpy as np

    from ._cache import Source

    class Reader(library):  # type: ignore[misc]
        """torchvision's reader for files whose checksums were compared here; unlabeled images are not needed."""

        train_list = [[file, None] for file, _ in library.train_list[:2]]
        test_list = [[file, None] for file, _ in library.test_list]

    with reading("torchvision", f"{name}_X.bin and {name}_y.bin", subject):
        content = Reader(str(root), split=name)
        labels = np.asarray(content.labels).astype(np.int64)
        labels[labels == 255] = -1  # the library counts from 0 in uint8, so that a label 0 in the file wraps around
        return Source(labels, SIDE, (block.transpose(0, 2, 3, 1) for block in blocks(content.data)))


def _check_files(folder: Path, release: Release, subject: str) -> None:
    """Compare sizes, which say more than a reader's failure to reshape, and class names."""
    for name in ("train", "test"):
        pixels, labels = (os.path.getsize(folder / f"{name}_{axis}.bin") for axis in "Xy")
        if pixels % IMAGE:
            raise UsageError(
                f"{subject}: {folder / f'{name}_X.bin'}: {pixels:,} bytes are not a whole number of 96 x 96 images "
                f"({IMAGE:,} bytes each): truncated; remove it and fetch it again"
            )
        if pixels // IMAGE != labels:
            raise UsageError(
                f"{subject}: {folder}: {name}_y.bin has {labels:,} labels for the {pixels // IMAGE:,} images in "
                f"{name}_X.bin; remove both and fetch them again"
            )
    names = folder / release.optional[0]
    if names.is_file() and tuple(names.read_text("utf-8", "replace").split()) != release.info.classes:
        raise UsageError(f"{subject}: {names}: does not name the 10 published classes in their order; fetch it again")
