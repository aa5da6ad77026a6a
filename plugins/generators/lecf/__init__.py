"""The ``lecf`` generator: parameters, presets and what depends on the dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from benchbench.errors import UsageError
from benchbench.models.generators import TextToImageGenerator
from benchbench.plugins import Context, DatasetInfo, ImageSet, Requirements, param
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class LECF(TextToImageGenerator):
    """Language enhancement and CLIP filter (He et al. 2023): sentences about a class, images of them, a selection.

    ``fit`` has a language model write ``num_sentences`` different sentences about each class, makes candidate
    images of them, and scores each against the prompts of all classes with a CLIP. ``sample`` keeps those whose
    probability of the class they were made for is above ``clip_threshold``; ``--sweep gen.clip_threshold=...``
    and other values of ``min_per_class`` and ``keep`` choose again among the same scored candidates.

    The dataset's template frames a sentence: "a photo of the digit {}" opens with "a photo of", and "the digit
    seven" is what the language model writes about. As in He et al. no full stop follows. A sentence stands for
    the candidates of its class in turn, each with its own seed; if the model writes fewer different sentences
    than were asked for, they are repeated, and the record says so.

    Another ``clip`` is another ``fit``. To compare several on the same images, leave it out and filter after
    it: ``lecf:clip=none+clip-filter:clip=...``.

    Presets: ``paper`` has He et al.'s language model, 200 sentences and guidance of 3, the RN50 CLIP, and the
    threshold that Diffusion Inversion (Zhou et al. 2023, appendix B.2) found best of 0, 0.1, 0.3, 0.5, 0.7, 0.9,
    0.95 and 0.97; it makes twice the images that it keeps at most. How the latter sampled Stable Diffusion for
    it is not published; steps and scheduler are those of its own method. ``quick`` uses the embedded models.
    """

    may_yield_fewer: ClassVar[bool] = True
    fit_is_forward_only: ClassVar[bool] = True
    registered: ClassVar[str] = "lecf"

    language_model: str | None = param(
        "glyph-words",
        paper="mrm8488/t5-base-finetuned-common_gen",
        help="Sequence-to-sequence model that writes sentences; none takes the plain class names.",
    )
    num_sentences: int = param(40, low=1, paper=200, help="Different sentences asked for per class.")
    max_new_tokens: int = param(20, low=1, help="Length limit of a sentence in tokens.")
    top_k: int = param(50, low=0, help="Likeliest tokens that a sentence is drawn from; 0 draws from all.")
    candidates_per_image: int = param(
        20, low=1, paper=90, help="Candidate images per real training image, over all classes evenly."
    )
    candidates: int | None = param(None, low=1, help="Candidate images in all, in place of candidates_per_image.")
    guidance_scale: float = param(
        2.0, low=0, paper=3.0, help="Guidance scale g of eps_u + g (eps_c - eps_u); 1 or less is no guidance."
    )
    num_inference_steps: int = param(12, low=1, high=1000, paper=100, help="Sampling steps per image.")
    scheduler: str = param(
        "DPMSolverMultistepScheduler", paper="PNDMScheduler", help="Class name of a diffusers scheduler."
    )
    clip: str | None = param(
        "glyph-clip",
        paper="timm/resnet50_clip.openai",
        help="CLIP that scores candidates: an embedded name, a folder or a hub id; none keeps any.",
    )
    clip_threshold: float = param(
        0.95, low=0, high=1, stage="sample", help="Keep images whose probability of their class is above this."
    )
    min_per_class: int = param(
        1, low=0, stage="sample", help="Images of a class to keep at least, the best ones where too few pass."
    )
    keep: str = param(
        "random",
        choices=("random", "best"),
        stage="sample",
        help="Which of those that pass, where more do than are wanted.",
    )
    shard_size: int | None = param(
        None, low=1, affects_result=False, help="Candidates per fit step; none is 500, or more to keep to 64 steps."
    )

    def needs(self) -> Requirements:
        """Return the models, and at 128 px or more that a CPU would take days.

        Raises:
            UsageError: ``scheduler`` is no diffusers scheduler that can sample here, or ``clip`` is no CLIP.
        """
        from benchbench.models.clip.layout import EXTRAS, clip_packages

        sampling = super().needs()
        models = (*sampling.foundations, self.language_model, self.clip)
        return replace(
            sampling,
            packages=("transformers", *(clip_packages(self.clip, "lecf") if self.clip else ())),
            foundations=tuple(name for name in models if name),
            extras=EXTRAS,
        )

    def resolve(self, info: DatasetInfo) -> Self:
        """Fill in the model and the resolution, and check what can be checked without opening weights.

        Raises:
            UsageError: fewer candidates than classes, or a model on this machine that cannot be used, or not at
                this resolution, or does not know the words of a class.
        """
        from benchbench.plugins.locate import locate

        from .candidates import check_concepts, check_language_folder, class_frames

        if self.candidates is not None and self.candidates < len(info.classes):
            raise UsageError(
                f"lecf:candidates={self.candidates}: fewer than the {len(info.classes)} classes of {info.name}"
            )
        ready = replace(super().resolve(info), template=self.template)  # None frames sentences by the dataset's
        if self.language_model is None:
            return ready
        try:
            folder = locate(self.language_model)
        except UsageError:
            return ready  # the preflight says what is missing
        name = f"lecf:language_model={self.language_model}"
        check_language_folder(folder, name)
        check_concepts(folder, name, [frame.concept for frame in class_frames(info, self.template)])
        return ready

    def total(self, train_count: int) -> int:
        """Return how many candidates there are for ``train_count`` training images."""
        return self.candidates or self.candidates_per_image * train_count

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return how many images ``sample`` yields at most: no more than there are candidates."""
        return min(default if asked is None else asked, self.total(train_count))

    def shards(self, train_count: int) -> Sequence[range]:
        """Return ranges of ``shard_size`` candidates."""
        total = self.total(train_count)
        size = self.shard_size or max(500, -(-total // 64))
        return tuple(batches(total, size))

    def fit(self, train: ImageSet, context: Context) -> None:
        """Make and score the candidates ``context.shard``."""
        from .candidates import make_candidates

        make_candidates(context, self.resolve(context.info), self.total(len(train)))

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield at most ``context.n_syn`` candidates that pass the filter."""
        from .sampling import sample_candidates

        yield from sample_candidates(context, self)
