"""Opens a frozen model and turns images into its features, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchbench.errors import BenchError
from benchbench.files import drop_pages
from benchbench.models.clip.layout import Preprocessing
from benchbench.models.clip.model import open_clip_model
from benchbench.models.clip.pixels import preprocess
from benchbench.models.timm_hub import Checkpoint, filled, fixed
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchbench.plugins import Context, Images, ImageSet

    from .formats import Frozen

#: Images that the model sees at once. Fixed, since sums in floating point depend on it.
BATCH = 64


class Features:
    """A frozen model as a function of images.

    Attributes:
        side: side in px at which it sees images.
    """

    def __init__(self, frozen: Frozen, folder: Path, subject: str, resolution: int | None, context: Context) -> None:
        """Open the model on the context's device, in its precision.

        Args:
            frozen: what the folder holds.
            folder: where it lies.
            subject: the start of messages.
            resolution: side in px at which a timm model sees images, ``None`` for that of its pretraining.
            context: of the step.

        Raises:
            BenchError: its weights are damaged or do not fit.
        """
        self._context, self._subject = context, subject
        self._encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
        if frozen.timm is None:
            clip = open_clip_model(folder, subject, device=context.device, precision=context.precision)
            self.side, self._encode = clip.resolution, clip.encode_images
        else:
            self.side = resolution or frozen.timm.side
            self._encode = _timm_encoder(frozen.timm, self.side, context)

    def of(self, images: Images | ImageSet, label: str) -> NDArray[np.float32]:
        """Return a row of features for each image, float32 ``(N, D)``, in order.

        Args:
            images: uint8, read from disk batch by batch.
            label: what progress calls them.

        Raises:
            BenchError: a feature is not finite.
        """
        rows = []
        for part in self._context.progress(list(batches(len(images), BATCH)), label=label, unit="batch"):
            rows.append(self._encode(images.images[part.start : part.stop]))
            drop_pages(images.images)
            if not np.isfinite(rows[-1]).all():
                raise BenchError(f"{self._subject}: gave features that are not finite; fetch the folder again")
        return np.concatenate(rows)


def _timm_encoder(checkpoint: Checkpoint, side: int, context: Context) -> Callable[[Any], NDArray[np.float32]]:
    """Return what takes images to the features before the head: bicubic to ``side``, normalised as in pretraining."""
    import timm

    sized = {"img_size": side} if fixed(checkpoint.architecture) else {}

    def make(**arguments: Any) -> Any:
        return timm.create_model(checkpoint.architecture, num_classes=checkpoint.classes, **{**arguments, **sized})

    net = filled(checkpoint, make, side, "probe:resolution=").to(context.device).eval()
    how = Preprocessing(side, side, "bicubic", 1 / 255, checkpoint.mean, checkpoint.std, even=True)

    def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        mixed = torch.autocast(context.device, torch.bfloat16, enabled=context.precision == "bf16")
        with torch.inference_mode(), mixed:
            maps = net.forward_features(preprocess(images, how).to(context.device))
            rows = net.forward_head(maps, pre_logits=True).flatten(1)
        return rows.float().cpu().numpy()

    return encode
