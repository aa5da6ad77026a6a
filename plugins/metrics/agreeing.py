"""The classifier of ``agreement``: a small network, trained from nothing on real images."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchbench.errors import BenchError
from benchbench.files import drop_pages
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchbench.plugins import Context, DatasetInfo, ImageSet

    from .agreement import Agreement

#: Id of the classifier; another network or training needs another.
ID = "cnn4-v1"
WIDTHS = (24, 48, 72, 96)
#: Images are moved by up to so many px of the network's side in training.
SHIFT = 2
RATE, DECAY = 3e-3, 0.05
_BATCH = 256


def network(classes: int) -> nn.Sequential:
    """Return four convolutions with batch norm, each halving the side, a mean over places, and a linear classifier."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes))


def write(metric: Agreement, real: ImageSet, context: Context) -> None:
    """Train on ``real`` and write ``model.safetensors`` and ``facts.json`` into ``context.folder``."""
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]), _reproducible():
        torch.manual_seed(derive_seed(context.seed, "initialisation"))
        model = network(len(real.classes)).to(context.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
        for step in context.resume(range(metric.steps), model, optimizer, label="training the classifier"):
            for group in optimizer.param_groups:  # one cycle: linear up over a tenth, cosine down to 0
                at = (step + 1) / metric.steps
                group["lr"] = RATE * min(10 * at, 0.5 + 0.5 * float(np.cos(np.pi * at)))
            rng = context.rng("step", step)
            rows = np.sort(rng.choice(len(real), metric.batch_size, replace=len(real) < metric.batch_size))
            pixels = _augmented(_pixels(metric, real.images[rows], context), rng, context.info)
            loss = F.cross_entropy(model(pixels), torch.from_numpy(real.labels[rows]).to(context.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if not all(torch.isfinite(weight).all() for weight in model.parameters()):
            raise BenchError("agreement: its classifier diverged; give fewer agreement:steps")
        right = float((_answers(model, metric, real, context) == real.labels).mean())
    save_file({name: value.cpu() for name, value in model.state_dict().items()}, context.folder / "model.safetensors")
    (context.folder / "facts.json").write_text(json.dumps({"train_accuracy": right}) + "\n", "utf-8")


def score(metric: Agreement, trained_on: int, synthetic: ImageSet, folder: Path, context: Context) -> dict[str, Any]:
    """Classify the generated images with the network that :func:`write` left in ``folder``."""
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]), _reproducible():
        model = network(len(synthetic.classes))
        model.load_state_dict(load_file(folder / "model.safetensors"))
        right = _answers(model.to(context.device), metric, synthetic, context) == synthetic.labels
    count = synthetic.counts
    hits = np.bincount(synthetic.labels[right], minlength=len(count))
    shares = [int(own) / int(of) if of else None for own, of in zip(hits, count, strict=True)]
    known = [share for share in shares if share is not None]
    return {
        "agreement": float(right.mean()),
        "agreement_by_class": sum(known) / len(known),
        "per_class": shares,
        **json.loads((folder / "facts.json").read_text("utf-8")),
        "extractor": ID,
        "n_score": len(synthetic),
        "n_reference": trained_on,
    }


def _answers(model: nn.Module, metric: Agreement, images: ImageSet, context: Context) -> NDArray[np.int64]:
    """Return the most probable class of each image."""
    found = []
    model.eval()
    with torch.inference_mode():
        for part in batches(len(images), _BATCH):
            found.append(model(_pixels(metric, images.images[part.start : part.stop], context)).argmax(1).cpu().numpy())
            drop_pages(images.images)
    return np.concatenate(found)


def _pixels(metric: Agreement, images: NDArray[np.uint8], context: Context) -> Tensor:
    """Return normalised float32 ``(B, 3, side, side)`` of images uint8 ``(B, H, W, 3)``."""
    side, info = metric.resolution, context.info
    pixels = torch.from_numpy(np.array(images)).to(context.device).permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-2:] != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
    mean, std = (torch.tensor(value, device=context.device).view(3, 1, 1) for value in (info.mean, info.std))
    return (pixels - mean) / std


def _augmented(pixels: Tensor, rng: np.random.Generator, info: DatasetInfo) -> Tensor:
    """Return images moved by a few px, and mirrored by chance where that keeps the class."""
    side = pixels.shape[-1]
    padded = F.pad(pixels, (SHIFT,) * 4, mode="replicate")
    moves = rng.integers(0, 2 * SHIFT + 1, (len(pixels), 2))
    moved = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, moves.tolist(), strict=True)]
    mirrored = rng.random(len(pixels)) < (0.5 if info.flip_keeps_class else 0)
    return torch.stack([image.flip(2) if flip else image for image, flip in zip(moved, mirrored, strict=True)])


@contextlib.contextmanager
def _reproducible() -> Iterator[None]:
    """Full float32 and fixed algorithms on an accelerator."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
