"""The ``real-guidance`` generator: training images noised part of the way and denoised towards their class (SDEdit)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from benchbench.models.generators import TextToImageGenerator
from benchbench.plugins import Context, ImageSet, param
from benchbench.plugins.context import derive_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchbench.models.diffusion.sampling import TextToImage

#: Parameters that enter the origin of every image.
_RECORDED = ("strength", "guidance_scale", "num_inference_steps", "scheduler")
#: Share of the chain that is run, by training images per class (He et al. 2023, the commands of their code):
#: 15, 20, 35, 40 and 50 of 100 steps.
STRENGTHS = {16: 0.15, 8: 0.20, 4: 0.35, 2: 0.40, 1: 0.50}


@dataclass(frozen=True)
class RealGuidance(TextToImageGenerator):
    """Real guidance (He et al. 2023): every image is a training image, noised and denoised towards its class.

    This is SDEdit (Meng et al. 2022): the image is noised to the level of the last ``strength`` of the sampling
    steps, which are then taken under the class's prompt. Labels are those of the training images, which take
    turns: round k makes the k-th variant of each, and a last, incomplete round takes images of all classes
    evenly.

    The more images a class has, the less is changed: ``strength`` is 0.15, 0.2, 0.35, 0.4 and 0.5 for 16, 8,
    4, 2 and 1 images per class, the authors' values. Between these counts the nearest one on a logarithmic
    scale holds, beyond 16 that of 16; the count is the mean over classes. A given ``strength`` overrides this.

    The authors' model is GLIDE at 64 px; here it is the dataset's foundation. ``paper`` has their 100 ancestral
    steps and guidance 3; ``quick`` fits the embedded model, with 20 steps, of which each of the strengths
    is a whole number.
    """

    registered: ClassVar[str] = "real-guidance"

    strength: float | None = param(
        None, above=0, high=1, help="Share of the sampling steps that is taken; none follows images per class."
    )
    guidance_scale: float = param(
        2.0, low=0, paper=3.0, help="Guidance g in the diffusers convention; 1 or less switches guidance off."
    )
    num_inference_steps: int = param(20, low=1, high=1000, paper=100, help="Sampling steps of the whole chain.")
    scheduler: str = param(
        "DPMSolverMultistepScheduler", paper="DDPMScheduler", help="Class name of a diffusers scheduler."
    )

    def __post_init__(self) -> None:
        from benchbench.models.diffusion.layout import steps_taken

        super().__post_init__()
        # How many images a class has is not known here; sampling looks at the strength that then holds.
        largest = max(STRENGTHS.values()) if self.strength is None else self.strength
        if not steps_taken(self.num_inference_steps, largest):
            raise ValueError(_too_few(self.num_inference_steps, largest))

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` variants, spread evenly over the training images.

        Raises:
            BenchError: the strength for this many images per class is less than one step.
        """
        from benchbench.errors import BenchError
        from benchbench.models.diffusion.layout import steps_taken
        from benchbench.planning.subsets import in_rounds

        strength = self.strength or strength_for(train)
        if not steps_taken(self.num_inference_steps, strength):
            raise BenchError(f"real-guidance:{_too_few(self.num_inference_steps, strength)}")
        ready = replace(self.resolve(context.info), strength=strength)
        prompts = ready.prompts(context.info)
        sources = in_rounds(train.labels, context.n_syn, context.seed)
        labels = train.labels[sources]
        facts = {name: getattr(ready, name) for name in _RECORDED}
        context.report(strength=strength)

        def origin(number: int) -> dict[str, Any]:
            source = sources[number]
            seed = derive_seed(context.seed, "real-guidance", source, number // len(train))
            return {**facts, "source": int(source), "prompt": prompts[labels[number]], "seed": seed}

        yield from ready.sampled(train, context, labels, origin)

    def images(
        self, model: TextToImage, origins: Sequence[dict[str, Any]], train: ImageSet | None = None
    ) -> NDArray[np.uint8]:
        """Return the training images that ``origins`` name, noised and denoised, uint8 ``(n, R, R, 3)``."""
        from benchbench.models.resize import resized

        assert train is not None
        images = train.images[[origin["source"] for origin in origins]]
        return model.image_to_image(
            resized(images, self.resolution or 0, self.interpolation),
            [origin["prompt"] for origin in origins],
            [origin["seed"] for origin in origins],
            strength=self.strength or 0.0,
            guidance_scale=self.guidance_scale,
            num_inference_steps=self.num_inference_steps,
        )


def _too_few(steps: int, strength: float) -> str:
    return (
        f"num_inference_steps={steps}: a strength of {strength:g} is less than one step; "
        f"give at least {math.ceil(1 / strength - 1e-9)} steps or a larger strength"
    )


def strength_for(train: ImageSet) -> float:
    """Return the authors' strength for the number of images per class, the mean over classes, nearest to theirs."""
    shots = len(train) / int((train.counts > 0).sum())
    return STRENGTHS[min(STRENGTHS, key=lambda named: abs(math.log2(named / shots)))]
