"""``probe``: logistic regression on the features of a frozen pretrained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from benchbench.errors import UsageError
from benchbench.models.clip.layout import EXTRAS
from benchbench.plugins import Context, DatasetInfo, Learner, Requirements, Task, TrainResult, param

if TYPE_CHECKING:
    from typing import Self

    from .formats import Frozen

#: What is said where no model is named: nothing that comes with the package has seen a photograph.
NO_MODEL = (
    "no model is named; --learner probe:model=FOLDER takes a folder in timm's hub format or a CLIP, or a hub id such "
    "as timm/vit_base_patch32_clip_224.openai; the embedded glyph-clip knows grey characters and no photographs: "
    "probe:model=glyph-clip is for the digits"
)
#: Penalty where none is given and there are no validation images to choose it on.
PENALTY = 0.1


@dataclass(frozen=True)
class Probe(Learner):
    """A linear probe: logistic regression on the features that a frozen, pretrained model gives of each image.

    Kornblith et al. 2019, "Do Better ImageNet Models Transfer Better?", appendix A.1, and Radford et al. 2021, section
    3.2: features of the last layer before the classes (of a CLIP, its embedding), an L2 penalty, L-BFGS until it has
    converged. Features are brought to mean 0 and deviation 1 over the training images. With ``--mix r:s`` all real
    images together weigh r, all generated ones s, however many there are. Images are seen as they are, without
    augmentation, and nothing is random: seeds repeat the same training, draws do not.

    It minimises the weighted mean cross-entropy plus ``penalty / 2`` times the squared weights, in float64. One penalty
    serves all rows: on the digits' validation part it is within 0.6 points of the best from 1 to 60 images per class.
    ``penalty=none`` chooses it on the validation images for each training, as both papers do.
    """

    axes: ClassVar[frozenset[str]] = frozenset({"mix"})
    #: In the place of the five seeds that Zhou et al. 2023 average over, which would be five copies here.
    draws: ClassVar[int] = 5

    model: str | None = param(
        None, help="What gives the features: a folder in timm's hub format, a CLIP, a hub id or an embedded CLIP."
    )
    resolution: int | None = param(
        None, low=16, high=1024, help="Side in px at which a timm model sees images; none: that of its pretraining."
    )
    penalty: float | None = param(
        PENALTY, above=0.0, help=f"L2 penalty; none: chosen on validation images, {PENALTY} without any."
    )

    def needs(self) -> Requirements:
        """Return the model, and the package that opens it.

        Raises:
            UsageError: the model is on this machine and is neither timm's nor a CLIP.
        """
        if self.model is None:
            return Requirements(packages=("torch", "sklearn"))
        frozen = self._frozen()
        packages = ("torch", "sklearn", frozen.package) if frozen else ("torch", "sklearn", "timm")
        return Requirements(packages=packages, foundations=(self.model,), extras=EXTRAS)

    def resolve(self, info: DatasetInfo) -> Self:
        """Check that there is a model, as far as it is on this machine, and that it takes the resolution.

        Raises:
            UsageError: none is named, or it is a CLIP of another side than ``resolution``.
        """
        if self.model is None:
            raise UsageError(f"probe: {NO_MODEL}")
        frozen = self._frozen()
        if frozen and frozen.clip and self.resolution not in (None, frozen.side):
            raise UsageError(
                f"{self._subject}: this CLIP sees images of {frozen.side} px and of no other side; leave resolution out"
            )
        return self

    @property
    def _subject(self) -> str:
        return f"probe:model={self.model}"

    def _frozen(self) -> Frozen | None:
        from benchbench.models.opening import local_folder

        from .formats import recognised

        folder = local_folder(str(self.model))
        return recognised(folder, self._subject) if folder else None

    def train(self, task: Task, context: Context) -> TrainResult:
        """Encode all images, fit the regression and classify the test images.

        Raises:
            UsageError: the model's folder holds something else.
            BenchError: its weights are damaged, or its features are not finite.
        """
        import torch

        from .fit import train

        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return train(self, self._subject, task, context)
