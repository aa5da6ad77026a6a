"""``stl10``: 13,000 labelled photos of ten kinds of animals and vehicles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import DatasetInfo

from ._published import Found, PublishedArrays, Release

if TYPE_CHECKING:
    from ._decoded import Decoded

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@dataclass(frozen=True)
class STL10(PublishedArrays):
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
            resolution=96,
            classify_resolution=96,
            generate_resolution=256,
            mean=(0.4467, 0.4398, 0.4066),
            std=(0.2603, 0.2566, 0.2713),
            flip_keeps_class=True,
            foundation="CompVis/stable-diffusion-v1-4",
            prompt="a photo of {}.",
            prompt_names=tuple(f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in CLASSES),
            group_size=100,
            licence="none stated by the authors (images from ImageNet)",
            source="STL-10 (Coates, Lee and Ng 2011), as torchvision.datasets.STL10 fetches it",
            paper="Diffusion Inversion, Zhou et al. 2023, Fig. 1, 6, 7b, 7c and 8, Tables 2 to 10",
        ),
        title="STL-10",
        library="torchvision",
        url="http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
        archive="stl10_binary.tar.gz",
        folder="stl10_binary",
        files=("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
        optional=("class_names.txt",),
    )

    def _decoded(self, found: Found) -> Decoded:
        from ._stl10 import decode

        return decode(found, self.release, self._subject, self._remedy)

    def _checksum(self) -> str:
        from ._stl10 import checksum

        return checksum()
