"""The ``vae`` generator: every training image through a foundation's autoencoder and back, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from benchbench.models.generators import DiffusionGenerator
from benchbench.plugins import Context, DatasetInfo, ImageSet, Requirements, param
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from benchbench.models.autoencoder import Autoencoder

#: Images per yielded chunk: what a kill can cost.
CHUNK = 50


@dataclass(frozen=True)
class VAE(DiffusionGenerator):
    """Real images as a latent diffusion model's autoencoder reproduces them (Zhou et al. 2023, tables 1 and 6).

    It bounds the quality of all images that the model makes: each real image is resized to ``resolution``, encoded
    (the posterior's mode, nothing random), decoded, and resized back. It makes one image for each real one,
    in their order; asked for fewer, of all classes evenly, and never more. The paper sweeps ``resolution``
    over 64, 128, 256 and 512 px, each as its own variant, and scores classifiers on test images put through the
    same (``--test-transform vae``).

    Only the autoencoder is read, so ``model`` may also be a folder that holds nothing else.
    """

    registered: ClassVar[str] = "vae"

    resolution: int | None = param(
        None,
        low=1,
        help="Side in px at which it works, a multiple of its reduction; none: the dataset's, or a small model's own.",
    )

    def needs(self) -> Requirements:
        """Return the foundation, and at 256 px or more that a CPU would take long."""
        large = (self.resolution or 0) >= 256
        return replace(super().needs(), memory_gib=4.0 if large else 0.0, accelerator=large)

    def resolve(self, info: DatasetInfo) -> Self:
        """Fill in the model and the resolution.

        Raises:
            UsageError: ``model`` is on this machine and has no autoencoder, or not for this resolution.
        """
        from benchbench.models.diffusion.layout import check_at_plan

        model, resolution = self.model_and_side(info)
        check_at_plan(model, resolution, "vae", vae_only=True)
        return replace(self, model=model, resolution=resolution)

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return one image for each training image, or as many of them as were asked for."""
        return train_count if asked is None else min(asked, train_count)

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` of the training images, processed."""
        from benchbench.planning.subsets import balanced_sample

        sources = balanced_sample(train.labels, min(context.n_syn, len(train)), context.seed)
        model: Autoencoder | None = None
        for chunk in context.chunks(len(sources), CHUNK):
            model = model or self._open(context)
            yield self._processed(train, sources[chunk.start : chunk.stop], model, context.info)

    def transform(self, images: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield all ``images``, processed, in their order."""
        import numpy as np

        model = self._open(context)
        every = list(batches(len(images), CHUNK))
        for part in context.progress(every, label="autoencoding", unit="batch"):
            yield self._processed(images, np.arange(part.start, part.stop), model, context.info)

    def _open(self, context: Context) -> Autoencoder:
        from benchbench.models.autoencoder import open_autoencoder

        name = str(self.resolve(context.info).model)
        return open_autoencoder(context.foundation(name), f"vae:model={name}", device=context.device)

    def _processed(
        self, images: ImageSet, sources: NDArray[np.int64], model: Autoencoder, info: DatasetInfo
    ) -> ImageSet:
        """Return the images at ``sources`` through the autoencoder, at the dataset's resolution."""
        from benchbench.models.resize import resized

        _, side = self.model_and_side(info)
        made = model.autoencode(resized(images.images[sources], side, self.interpolation))
        return ImageSet(
            resized(made, info.resolution, self.interpolation),
            images.labels[sources],
            images.classes,
            [{"source": int(source), "resolution": side} for source in sources],
        )
