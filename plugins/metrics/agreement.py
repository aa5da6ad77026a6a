"""``agreement``: whether a classifier trained on real images sees in generated ones what their labels say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from benchbench.errors import BenchError
from benchbench.plugins import Column, Context, DatasetInfo, ImageSet, Metric, param


@dataclass(frozen=True)
class Agreement(Metric):
    """Share of generated images to which a classifier of the real images gives the label that they carry.

    A small convolutional network is trained on the dataset's whole training part, whatever ``--shots`` says, once for
    all generators. Low agreement means wrong labels, or images that real ones do not prepare for; high agreement means
    neither that images are good nor that they are of use: copies agree (classification accuracy scores of Ravuri and
    Vinyals 2019 train on generated images instead, as every row here does). The row of the baseline scores real images
    that were left out of the training: about what a perfect generator would score.
    """

    usual: ClassVar[bool] = False  # it trains a classifier, and one more for each baseline

    steps: int = param(200, paper=4000, low=1, stage="reference", help="Optimiser steps of the classifier.")
    batch_size: int = param(64, low=2, stage="reference", help="Images per step.")
    resolution: int = param(32, low=8, help="Side in px at which it sees images.")

    def columns(self) -> Sequence[Column]:
        """Return the share, and its mean over the classes."""
        return (
            Column("agreement", "label agreement", 4, "more"),
            Column("agreement_by_class", "label agreement, mean of classes", 4, "more"),
        )

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float:
        """Estimate a step: a training, or one look at each image."""
        image = 4e-7 * self.resolution**2
        return 2 + 3 * image * self.steps * self.batch_size if stage == "reference" else 2 + image * images

    def reference(self, real: ImageSet, context: Context) -> None:
        """Train the classifier on the real images and write its weights.

        Raises:
            BenchError: there is no image, or the training diverged.
        """
        if not len(real):
            raise BenchError("agreement: real set is empty: there is nothing to train on")
        from .agreeing import write

        write(self, real, context)

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Return ``agreement, agreement_by_class, extractor, n_score, n_reference`` and more.

        Both shares lie in 0 to 1; the second leaves out classes without generated images. ``per_class`` has the share
        of each class, ``train_accuracy`` the classifier's share on its own training images.

        Raises:
            BenchError: there is no generated image.
        """
        if not len(synthetic):
            raise BenchError("agreement: synthetic set is empty: there are no images to score")
        if context.reference is None:
            raise BenchError("agreement: score needs what reference wrote; give its folder as context.reference")
        from .agreeing import score

        return score(self, len(real), synthetic, context.reference, context)
