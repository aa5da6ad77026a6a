"""The ``biggan`` generator: parameters, presets and what depends on the dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.plugins import Context, DatasetInfo, Generator, ImageSet, Requirements, param
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


@dataclass(frozen=True)
class BigGAN(Generator):
    """The GAN baselines of Diffusion Inversion (Zhou et al. 2023, figure 5): random latents, or GAN inversion.

    ``mode=random`` draws z ~ N(0, I) for each image, without truncation, and labels in the proportions of the
    training subset. ``mode=inversion`` (their appendix B.2.1; Zhao & Bilen 2022, IT-GAN) finds a latent for
    each real image, from z ~ N(0, I), by minimising

        ||psi(G(z, y)) - psi(x)||^2 / d_f  +  lambda_pixel ||G(z, y) - x||^2 / d_I

    with y the image's label, images normalised by the dataset's mean and deviation, and psi a ConvNet trained
    on the real training subset. One image per real image, as in figure 5; with ``perturbation`` above 0, any
    number of variants around the latents.

    ``model`` is ``glyph-biggan``, a folder like it, or a published BigGAN-CIFAR checkpoint, such as
    DiffAugment-biggan-cifar10.pth of data-efficient-gans (Zhao et al. 2020), used in eval mode. A folder names
    its classes and they are matched by name. A ``.pth`` has no names: the number of classes must be the
    dataset's, and their order is taken to be the dataset's. Real images of another size than the generator's
    are resized (bicubic), and what it makes is resized back.

    Each image has its own Adam, so that its latent does not depend on its neighbours. The authors run one
    Adam over all latents of a class, in batches of 50, so that latents outside a batch drift by momentum; that
    is not reproduced.

    ``features=train`` trains psi (three times convolution, instance normalisation, ReLU, average pooling;
    320,010 parameters for 10 classes at 32 px and width 128) by SGD at 0.01, a tenth of that in the second
    half, with one random operation per batch (colour, shift, cutout, flip, scale or rotation; flips only where
    they keep the class). Each fit step trains the same psi anew, from the same seed. The authors' saved psi is a
    pickled module and cannot be opened safely.

    Presets: ``paper`` has the authors' values. ``quick`` takes fewer steps and a narrower psi.
    """

    mode: str = param("random", choices=("random", "inversion"), help="Random latents, or those of real images.")
    model: str = param("glyph-biggan", help="Foundation: an embedded name, a folder, or a published .pth file.")
    steps: int = param(250, low=1, paper=5000, help="Optimiser steps per image of the inversion.")
    learning_rate: float = param(0.1, above=0, help="Learning rate of Adam on the latents.")
    lambda_pixel: float = param(1.0, low=0, help="Weight of the pixel loss; the feature loss has 1.")
    features: str = param(
        "train", help="psi: train, for a ConvNet trained on the real subset, or a foundation such as glyph-cnn."
    )
    feature_width: int = param(32, low=1, paper=128, help="Channels of a trained psi.")
    feature_steps: int | None = param(
        300, low=1, paper=None, help="Training steps of psi; none is 200 passes over the training subset."
    )
    feature_batch: int = param(50, low=1, paper=256, help="Images per training step of psi.")
    truncation: float = param(
        0.0, low=0, stage="sample", help="Redraw entries of a random z beyond this; 0 for no truncation."
    )
    perturbation: float = param(
        0.0, low=0, stage="sample", help="Deviation of noise added to inverted latents; 0 for one image per real image."
    )
    shard_size: int | None = param(
        None, low=1, affects_result=False, help="Images per fit step; none is 100, or more to keep to 8 steps."
    )

    def __post_init__(self) -> None:
        # A value that would do nothing is more likely a mistake than a wish.
        if self.truncation > 0 and self.mode == "inversion":
            raise ValueError(f"truncation={self.truncation:g}: only mode=random draws its latents freely")
        if self.perturbation > 0 and self.mode == "random":
            raise ValueError(f"perturbation={self.perturbation:g}: only mode=inversion has latents to perturb")

    def needs(self) -> Requirements:
        """Return the generator and, where one is opened, the feature network."""
        psi = (self.features,) if self.mode == "inversion" and self.features != "train" else ()
        return Requirements(foundations=(self.model, *psi))

    def resolve(self, info: DatasetInfo) -> Self:
        """Check the generator and the feature network as far as that needs no weights.

        Raises:
            UsageError: ``model`` is no BigGAN or not of this dataset's classes, or ``features`` no feature network.
        """
        from benchbench.errors import MissingError

        from .layout import check_features, read_biggan_layout

        try:
            read_biggan_layout(self._folder("model"), f"biggan:model={self.model}").class_indices(info)
            if self.needs().foundations[1:]:
                check_features(self._folder("features"), f"biggan:features={self.features}")
        except MissingError:
            pass  # the preflight says what is missing
        return self

    def _folder(self, parameter: str) -> Path:
        from benchbench.errors import MissingError, UsageError
        from benchbench.plugins.locate import locate

        try:
            return locate(getattr(self, parameter))
        except MissingError:
            raise
        except UsageError as error:
            raise UsageError(f"biggan:{parameter}={error}") from None

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return the number of images: one per real image for exact inversion, else what is asked for."""
        exact = self.mode == "inversion" and self.perturbation == 0
        return train_count if exact else asked or default

    def shards(self, train_count: int) -> Sequence[range]:
        """Return ranges of ``shard_size`` images; none for random latents, which need no ``fit``.

        A shard trains psi before it starts, so the default keeps shards few.
        """
        if self.mode == "random":
            return ()
        size = self.shard_size or max(100, -(-train_count // 8))
        return tuple(batches(train_count, size))

    def fit(self, train: ImageSet, context: Context) -> None:
        """Invert the images of ``context.shard`` and write their latents and losses."""
        from .inversion import invert

        invert(train, context, self)

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` images of random or of inverted latents."""
        from .sampling import sample_latents

        yield from sample_latents(train, context, self)
