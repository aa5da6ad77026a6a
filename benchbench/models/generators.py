"""Base classes for generators on a latent diffusion model: the parameters, needs and checks that all of them share.

A generator of your own that samples from prompts is a subclass of :class:`TextToImageGenerator` with a ``sample`` that
says what each image is made of::

    @dataclass(frozen=True)
    class Snowy(TextToImageGenerator):
        \"\"\"Each class in the snow.\"\"\"

        def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
            prompts = [f"{prompt}, in the snow" for prompt in self.prompts(context.info)]
            labels = np.arange(context.n_syn) % len(prompts)

            def origin(number: int) -> dict[str, Any]:
                seed = derive_seed(context.seed, number)  # another draw, other images
                return {"prompt": prompts[labels[number]], "seed": seed}

            yield from self.sampled(train, context, labels, origin)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ..plugins import Context, DatasetInfo, Generator, ImageSet, Requirements, param
from ..plugins.images import batches
from .clip.layout import EXTRAS, clip_packages
from .diffusion.layout import check_at_plan, check_scheduler, native_side
from .prompts import Prompted

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from .diffusion.sampling import TextToImage

#: Images per yielded chunk: what a kill can cost. Fixed, so that a run continues under any ``sample_batch``.
CHUNK = 50
#: Pixels that are sampled at once by default, so that 512 px take no more memory than 256.
_PIXELS_AT_ONCE = CHUNK * 256**2


@dataclass(frozen=True)
class DiffusionGenerator(Generator):
    """A generator on a latent diffusion model, or on a part of one."""

    #: The registered name, the start of messages; the class's name stands in for it.
    registered: ClassVar[str] = ""

    model: str | None = param(
        None, help="Foundation: an embedded name, a folder or a hub id; none is the dataset's default."
    )
    resolution: int | None = param(
        None,
        low=8,
        help="Side in px at which the foundation sees and makes images; none: the dataset's, or a small model's own.",
    )
    interpolation: str = param(
        "bicubic",
        choices=("nearest", "bilinear", "bicubic", "lanczos"),
        help="Resizing into the foundation's resolution and back.",
    )

    def needs(self) -> Requirements:
        """Return the foundation, and at 128 px or more that a CPU would take long."""
        large = (self.resolution or 0) >= 128
        foundations = (self.model,) if self.model else ()
        return Requirements(foundations=foundations, memory_gib=8.0 if large else 0.0, accelerator=large)

    def resolve(self, info: DatasetInfo) -> Self:
        """Fill in the model and the resolution.

        Raises:
            UsageError: ``model`` is on this machine and cannot be used, or not at this resolution.
        """
        model, resolution = self.model_and_side(info)
        check_at_plan(model, resolution, self.subject(), text=self.reads_text())
        return replace(self, model=model, resolution=resolution)

    @classmethod
    def subject(cls) -> str:
        """Return what messages begin with."""
        return cls.registered or cls.__name__

    def reads_text(self) -> bool:
        """Return whether the foundation's text encoder is used, so that it has to be there."""
        return True

    def model_and_side(self, info: DatasetInfo) -> tuple[str, int]:
        """Return the foundation and the side in px at which it works: the plugin's own, or else the dataset's.

        The dataset's ``generate_resolution`` is the side at which the authors of Diffusion Inversion learn their
        embeddings and reconstruct images (Zhou et al. 2023, appendix B.2). It is lowered to the model's native one
        where that is smaller: a latent diffusion model repeats itself above it.
        """
        model = self.model or info.foundation
        return model, self.resolution or min(info.generate_resolution, native_side(model) or info.generate_resolution)


@dataclass(frozen=True)
class TextToImageGenerator(Prompted, DiffusionGenerator):
    """A generator that samples a text-to-image model from prompts, or from images and prompts.

    It works at the model's native side, 512 px for SD v1-4, whatever the dataset's: the text conditioning was trained
    at that side alone (Zhou et al. 2023, section 5.2), and below it images are corrupted. Images are resized to the
    dataset afterwards.

    Guidance follows the diffusers convention, eps_u + g (eps_c - eps_u).
    """

    resolution: int | None = param(
        None, low=8, help="Side in px at which the foundation makes images; none: the model's own, 512 for SD v1-4."
    )
    guidance_scale: float = param(
        2.0, low=0, paper=7.5, help="Guidance g in the diffusers convention; 1 or less switches guidance off."
    )
    num_inference_steps: int = param(12, low=1, high=1000, paper=50, help="Sampling steps per image.")
    scheduler: str = param(
        "DPMSolverMultistepScheduler", paper="PNDMScheduler", help="Class name of a diffusers scheduler."
    )
    sample_batch: int | None = param(
        None,
        low=1,
        affects_result=False,
        help="Images sampled at once, at most 50; none: 50 up to 256 px, 12 at 512. Changes speed and memory alone.",
    )

    def needs(self) -> Requirements:
        """Return the foundation, and at 128 px or more that a CPU would take long.

        Raises:
            UsageError: ``scheduler`` is no diffusers scheduler that can sample here.
        """
        check_scheduler(self.scheduler, self.subject())
        return super().needs()

    def resolve(self, info: DatasetInfo) -> Self:
        """Fill in the model, the resolution and the template.

        Raises:
            UsageError: ``model`` is on this machine and cannot be used, or not at this resolution.
        """
        return replace(super().resolve(info), template=self.template or info.prompt)

    def model_and_side(self, info: DatasetInfo) -> tuple[str, int]:
        """Return the foundation, and its native side in px; the dataset's for a model that does not say its own."""
        model = self.model or info.foundation
        return model, self.resolution or native_side(model) or info.generate_resolution

    def at_once(self) -> int:
        """Return how many images are sampled at once; ``self`` has to be resolved."""
        return self.sample_batch or max(1, min(CHUNK, _PIXELS_AT_ONCE // (self.resolution or 1) ** 2))

    def open(self, context: Context) -> TextToImage:
        """Open the model for sampling; ``self`` has to be resolved.

        Raises:
            UsageError: a part of the model is missing or does not fit the others.
            BenchError: its weights are damaged.
        """
        from .diffusion.sampling import open_text_to_image

        name = str(self.model)
        return open_text_to_image(
            context.foundation(name),
            name,
            device=context.device,
            precision=context.precision,
            scheduler=self.scheduler,
            subject=self.subject(),
        )

    def images(
        self, model: TextToImage, origins: Sequence[dict[str, Any]], train: ImageSet | None = None
    ) -> NDArray[np.uint8]:
        """Return one image for each recipe, uint8 ``(n, R, R, 3)`` at any R; by default text to image.

        Args:
            model: the opened model.
            origins: what each image is made of; ``prompt`` and ``seed`` are read.
            train: the training images, for a generator that starts from them.
        """
        return model.generate(
            [origin["prompt"] for origin in origins],
            [origin["seed"] for origin in origins],
            guidance_scale=self.guidance_scale,
            num_inference_steps=self.num_inference_steps,
            resolution=self.resolution or 0,
            **self.generate_options(),
        )

    def generate_options(self) -> dict[str, Any]:
        """Return further keywords of :meth:`TextToImage.generate`, such as ``negative_prompt``."""
        return {}

    def sampled(
        self, train: ImageSet, context: Context, labels: NDArray[np.int64], origin: Callable[[int], dict[str, Any]]
    ) -> Iterator[ImageSet]:
        """Yield an image for each label, at the dataset's resolution; a killed run continues after its last chunk.

        Args:
            train: the training images.
            context: of the step; ``self`` is resolved for its dataset here.
            labels: int64 ``(n_syn,)``.
            origin: what image number ``n`` is made of, JSON values, among them ``prompt`` and ``seed`` (in [0, 2**63)).
        """
        import numpy as np

        from .resize import resized

        ready = self.resolve(context.info)
        model: TextToImage | None = None
        for chunk in context.chunks(len(labels), CHUNK):
            model = model or ready.open(context)
            origins = [origin(number) for number in chunk]
            parts = (origins[part.start : part.stop] for part in batches(len(origins), ready.at_once()))
            side = context.info.resolution
            pixels = [resized(ready.images(model, part, train), side, self.interpolation) for part in parts]
            yield ImageSet(np.concatenate(pixels), labels[chunk.start : chunk.stop], train.classes, origins)


@dataclass(frozen=True)
class ClipUser(Prompted, Generator):
    """A generator that asks a CLIP by one prompt per class; a subclass declares which, as its parameter ``clip``."""

    #: The registered name, the start of messages; the class's name stands in for it.
    registered: ClassVar[str] = ""

    def needs(self) -> Requirements:
        """Return the CLIP and the package that opens it.

        Raises:
            UsageError: the CLIP is on this machine and is none.
        """
        clip = str(getattr(self, "clip"))  # noqa: B009 - a subclass's field
        packages = clip_packages(clip, self.registered or type(self).__name__)
        return Requirements(packages=packages, foundations=(clip,), extras=EXTRAS)
