"""``stl10``: 13,000 labelled photos of ten kinds of animals and vehicles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchbench.errors import UsageError
from benchbench.plugins import DatasetInfo

from ._arrays import PublishedArrays, problem_of_labels
from ._published import Release, with_article

if TYPE_CHECKING:
    from ._cache import Source

SIDE = 96
#: Bytes of one image.
IMAGE = 3 * SIDE * SIDE
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@dataclass(frozen=True)
class STL10(PublishedArrays):
    """Photos of ten kinds of animals and vehicles, 96x96 RGB; 5,000 train, 8,000 test, balanced.

    The labelled part only: the 100,000 unlabeled images and the ten folds of the training part are not used, as in
    Diffusion Inversion, Zhou et al. 2023. Read from ``stl10_binary.tar.gz``, whose checksum is verified and of which
    only the labelled images are unpacked, or from ``stl10_binary``, whose files are compared with the published
    ones; a difference is noted. There is no validation part. Images are in the published order. Embeddings are
    learned at 256 px; prompts are "a photo of an airplane.".
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
        md5="91f7769df0f17e558f3565bffb0c7dfb",
        folder="stl10_binary",
        files={
            "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
            "train_y.bin": "5a34089d4802c674881badbb80307741",
            "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
            "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
        },
        optional=("class_names.txt",),
    )

    def _read(self, place: Path) -> dict[str, Source]:
        import numpy as np

        from ._cache import Source

        names = place / self.release.optional[0]
        if names.is_file() and tuple(names.read_text("utf-8", "replace").split()) != CLASSES:
            raise UsageError(f"{names}: does not name the 10 published classes in their order; fetch it again")
        parts = {}
        for part in ("train", "test"):
            image_file, label_file = (place / f"{part}_{axis}.bin" for axis in "Xy")
            pixels, labels = (np.fromfile(file, dtype=np.uint8) for file in (image_file, label_file))
            if len(pixels) % IMAGE:
                raise UsageError(
                    f"{image_file}: {len(pixels):,} bytes are not a whole number of 96 x 96 images ({IMAGE:,} bytes "
                    "each): truncated; move it away and fetch it again"
                )
            if len(pixels) // IMAGE != len(labels):
                raise UsageError(
                    f"{place}: {label_file.name} has {len(labels):,} labels for the {len(pixels) // IMAGE:,} images in "
                    f"{image_file.name}; remove both and fetch them again"
                )
            if problem := problem_of_labels(labels.tolist(), 1, len(CLASSES)):
                raise UsageError(f"{label_file}: {problem}; move it away and fetch it again")
            # Channel after channel, column after column; a thousand images are turned at a time.
            images = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)
            blocks = np.array_split(images, range(1000, len(images), 1000))
            parts[part] = Source(labels.astype(np.int64) - 1, SIDE, blocks)
        return parts
