"""The ``prompt`` generator: a text-to-image model asked for each class by name, the generic baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchbench.plugins import Context, DatasetInfo, Generator, ImageSet, Needs, param
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from benchbench.models.diffusion.sampling import TextToImage

#: Images per yielded chunk: what a kill can cost. Fixed, so that a run continues under any ``sample_batch``.
CHUNK = 50
#: Parameters that are said of every image.
_RECORDED = ("negative_prompt", "guidance_scale", "num_inference_steps", "scheduler")


@dataclass(frozen=True)
class Prompt(Generator):
    """A text-to-image model given each class's name in a template: no training image is looked at.

    The generic baseline that dataset-specific generators are measured against: no language enhancement, no
    filter. Classes take turns, image i being of class i mod C, so they differ by at most one image and the
    first ones have it. Every image has a seed of its own, so the first n images are the same for any larger
    ``--n-syn``.

    Guidance follows the diffusers convention, eps_u + g (eps_c - eps_u). Presets: ``paper`` has the defaults
    of Stable Diffusion (g = 7.5, 50 steps of PNDM); ``quick`` fits the embedded model.
    """

    model: str | None = param(
        None, help="Foundation: an embedded name, a folder or a hub id; none is the dataset's default."
    )
    template: str | None = param(
        None, help="Prompt with one {} where the class name goes; none is the dataset's template."
    )
    negative_prompt: str = param("", help="What guidance leads away from; empty as in Stable Diffusion.")
    guidance_scale: float = param(
        2.0, low=0, paper=7.5, help="Guidance g in the diffusers convention; 1 or less switches guidance off."
    )
    num_inference_steps: int = param(12, low=1, high=1000, paper=50, help="Sampling steps per image.")
    scheduler: str = param(
        "DPMSolverMultistepScheduler", paper="PNDMScheduler", help="Class name of a diffusers scheduler."
    )
    resolution: int | None = param(
        None,
        low=8,
        help="Side in px at which the foundation makes images; none: the dataset's, or a small model's own.",
    )
    interpolation: str = param(
        "bicubic",
        choices=("nearest", "bilinear", "bicubic", "lanczos"),
        help="Resizing from there to the dataset's resolution.",
    )
    sample_batch: int = param(
        50, low=1, stage="speed", help="Images sampled at once, at most 50; changes speed and memory alone."
    )

    def __post_init__(self) -> None:
        from benchbench.models.prompts import check_template

        check_template(self.template)

    def needs(self) -> Needs:
        """Return the foundation, and at 128 px or more that a CPU would take long.

        Raises:
            UsageError: ``scheduler`` is no diffusers scheduler that can sample here.
        """
        from ._text_to_image import sampling_needs

        return sampling_needs(self.model, self.resolution, self.scheduler, "prompt")

    def resolve(self, info: DatasetInfo) -> Self:
        """Fill in the model, the resolution and the template.

        Raises:
            UsageError: ``model`` is on this machine and cannot be used, or not at this resolution.
        """
        from ._text_to_image import resolved

        return resolved(self, info, "prompt")

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` images, the classes in turn; of ``train`` only the class names are read."""
        import numpy as np

        from benchbench.models.diffusion.sampling import open_text_to_image
        from benchbench.models.prompts import class_prompts

        ready = self.resolve(context.info)
        prompts = class_prompts(context.info, ready.template)
        facts = {name: getattr(self, name) for name in _RECORDED}
        model: TextToImage | None = None
        for chunk in context.chunks(context.n_syn, CHUNK):
            model = model or open_text_to_image(
                context.foundation(str(ready.model)),
                str(ready.model),
                device=context.device,
                precision=context.precision,
                scheduler=self.scheduler,
                subject="prompt",
            )
            labels = np.arange(chunk.start, chunk.stop, dtype=np.int64) % len(prompts)
            origins = [
                {**facts, "prompt": prompts[label], "seed": derive_seed(context.seed, "prompt", number)}
                for number, label in zip(chunk, labels, strict=True)
            ]
            parts = [origins[part.start : part.stop] for part in batches(len(origins), self.sample_batch)]
            pixels = np.concatenate([ready._images(part, model, context.info.resolution) for part in parts])
            yield ImageSet(pixels, labels, train.classes, origins)

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate CPU seconds on one core with the embedded foundation; ``None`` with any other."""
        from ._text_to_image import model_and_side

        model, resolution = model_and_side(self, info)
        if stage != "sample" or model != "glyph-sd" or resolution != 32:
            return None
        opening, call, image = 8.0, 0.0018, 0.002  # measured on one core, batches of 50
        calls = self.num_inference_steps * (2 if self.guidance_scale > 1 else 1)
        return opening + images * (calls * call + image)

    def _images(self, origins: list[dict[str, Any]], model: TextToImage, side: int) -> NDArray[np.uint8]:
        """Return uint8 ``(n, side, side, 3)`` made of n recipes."""
        from benchbench.models.resize import resized

        made = model.generate(
            [origin["prompt"] for origin in origins],
            [origin["seed"] for origin in origins],
            guidance_scale=self.guidance_scale,
            num_inference_steps=self.num_inference_steps,
            resolution=self.resolution or 0,
            negative_prompt=self.negative_prompt,
        )
        return resized(made, side, self.interpolation)
