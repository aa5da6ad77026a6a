"""The ``corrupt`` transform: the common corruptions of ImageNet-C, for rows of robustness."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.errors import BenchError, UsageError
from benchbench.plugins import Context, DatasetInfo, Generator, ImageSet, Requirements, param
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

#: The 15 corruptions of Hendrycks and Dietterich 2019, figure 1, in their order; their mean is what the field reports.
COMMON = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
#: Their four for choosing a method, which "all" leaves out.
VALIDATION = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
#: Those that are given a seed; the others read NumPy's global state.
SEEDED = ("impulse_noise", "glass_blur")
#: Smallest side in px that the package takes, and images per yielded set.
LEAST, CHUNK = 32, 100


@dataclass(frozen=True)
class Corrupt(Generator):
    """Images as bad cameras, weather and compression leave them (Hendrycks and Dietterich 2019, ImageNet-C).

    With ``kind=all`` each image passes through one of the 15 common corruptions, in turn within its class: each gets a
    fifteenth of the test images and of each class, so that the accuracy estimates the mean over the 15, and an image
    counts once. By the package imagecorruptions-imaug, at the side at which the dataset stores its images. The noise of
    an image depends on its place and the dataset alone. As a generator it makes one image for each real one.
    """

    pinned_distributions: ClassVar[tuple[str, ...]] = ("imagecorruptions-imaug",)

    kind: str = param(  # type: ignore[misc]  # see below
        "all", choices=("all", *COMMON, *VALIDATION), help="Which corruption; all: the common 15 in turn."
    )
    severity: int = param(3, low=1, high=5, help="How strong, 1 to 5.")

    def needs(self) -> Requirements:
        """Return the package of the corruptions."""
        return Requirements(packages=("imagecorruptions",), extras={"imagecorruptions": "corruptions"})

    def resolve(self, info: DatasetInfo) -> Self:
        """Refuse small images.

        Raises:
            UsageError: the dataset stores images below 32 px, for which the corruptions are not defined.
        """
        if info.resolution < LEAST:
            raise UsageError(
                f"corrupt: {info.name} has images of {info.resolution} px, and corruptions need {LEAST} px or more"
            )
        return self

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float:
        """Estimate a stage: the mean over the corruptions grows with the pixels."""
        return 3 + images * (8e-4 + 3.3e-7 * info.resolution**2)

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return one image for each training image, or as many of them as were asked for."""
        return train_count if asked is None else min(asked, train_count)

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` of the training images, of all classes evenly, corrupted."""
        from benchbench.planning.subsets import balanced_sample

        sources = balanced_sample(train.labels, min(context.n_syn, len(train)), context.seed)
        kinds = self._kinds(train.labels[sources])
        for chunk in context.chunks(len(sources), CHUNK):
            rows = slice(chunk.start, chunk.stop)
            yield self._corrupted(train, sources[rows], kinds[rows], context)

    def transform(self, images: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield all ``images``, corrupted, in their order."""
        import numpy as np

        kinds = self._kinds(images.labels)
        every = list(batches(len(images), CHUNK))
        for part in context.progress(every, label="corrupting", unit="batch"):
            yield self._corrupted(images, np.arange(part.start, part.stop), kinds[part.start : part.stop], context)

    def _kinds(self, labels: NDArray[np.int64]) -> list[str]:
        """Return the corruption of each image: of one class after the other, the images take turns."""
        import numpy as np

        turns = COMMON if self.kind == "all" else (self.kind,)
        places = np.empty(len(labels), np.int64)
        places[np.argsort(labels, kind="stable")] = np.arange(len(labels))
        return [turns[place % len(turns)] for place in places]

    def _corrupted(
        self, images: ImageSet, sources: NDArray[np.int64], kinds: Sequence[str], context: Context
    ) -> ImageSet:
        import numpy as np

        made = np.empty((len(sources), *images.images.shape[1:]), np.uint8)
        for place, (source, kind) in enumerate(zip(sources, kinds, strict=True)):
            seed = derive_seed(context.seed, "corrupt", int(source)) % 2**32
            made[place] = _one(np.array(images.images[source]), kind, self.severity, seed)
        origins = [
            {"source": int(source), "corruption": kind, "severity": self.severity}
            for source, kind in zip(sources, kinds, strict=True)
        ]
        return ImageSet(made, images.labels[sources], images.classes, origins)


#: A plugin's class says in ``kind`` that it is a generator; the parameter, which ImageNet-C's users expect under this
#: name, is one of its instances alone.
del Corrupt.kind


def _one(image: NDArray[np.uint8], kind: str, severity: int, seed: int) -> NDArray[np.uint8]:
    """Return one image corrupted; NumPy's global state is put back, and what the package prints is dropped."""
    import numpy as np

    try:
        from imagecorruptions import corrupt
    except ImportError as error:
        raise BenchError(
            f"corrupt: imagecorruptions cannot be imported ({error}); where OpenCV lacks the libraries of a display: "
            "pip install --force-reinstall --no-deps opencv-python-headless"
        ) from None
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            more = {"seed": seed} if kind in SEEDED else {}
            corrupted: NDArray[np.uint8] = corrupt(image, severity=severity, corruption_name=kind, **more)
            return corrupted
    finally:
        np.random.set_state(state)
