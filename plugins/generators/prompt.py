"""The ``prompt`` generator: a text-to-image model asked for each class by name, the generic baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from benchbench.models.generators import TextToImageGenerator
from benchbench.plugins import Context, ImageSet, param
from benchbench.plugins.context import derive_seed

#: Parameters that enter the origin of every image.
_RECORDED = ("negative_prompt", "guidance_scale", "num_inference_steps", "scheduler")


@dataclass(frozen=True)
class Prompt(TextToImageGenerator):
    """A text-to-image model asked for each class by its name in a template; it sees no training image.

    The generic baseline that dataset-specific generators are measured against: no language enhancement, no
    filter. Classes take turns, image i being of class i mod C, so they differ by at most one image and the
    first ones have it. Every image has its own seed, so the first n images are the same for any larger
    ``--n-syn``.

    Guidance follows the diffusers convention, eps_u + g (eps_c - eps_u). Presets: ``paper`` has the defaults
    of Stable Diffusion (g = 7.5, 50 steps of PNDM); ``quick`` fits the embedded model.
    """

    registered: ClassVar[str] = "prompt"

    negative_prompt: str = param("", help="What guidance leads away from; empty as in Stable Diffusion.")

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` images, the classes in turn; of ``train`` only the class names are read."""
        import numpy as np

        prompts = self.resolve(context.info).prompts(context.info)
        facts = {name: getattr(self, name) for name in _RECORDED}
        labels = np.arange(context.n_syn, dtype=np.int64) % len(prompts)

        def origin(number: int) -> dict[str, Any]:
            return {**facts, "prompt": prompts[labels[number]], "seed": derive_seed(context.seed, "prompt", number)}

        yield from self.sampled(train, context, labels, origin)

    def generate_options(self) -> dict[str, Any]:
        """Return the negative prompt."""
        return {"negative_prompt": self.negative_prompt}
