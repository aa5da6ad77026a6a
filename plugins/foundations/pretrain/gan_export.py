"""Finishes the trained generator for eval mode, writes it, and says how well its digits are recognised."""

import copy
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...generators.biggan.network import BigGANGenerator, SpectralNorm
from ..glyph_cnn_model import open_glyph_cnn
from .corpus import derived_seed
from .gan import CLASSES, CONFIG

MODEL_ID = "glyphbiggan-v1"


@torch.no_grad()
def finished(model: BigGANGenerator, seed: int, batches: int = 40) -> BigGANGenerator:
    """Return a copy for eval mode: weights rounded to fp16, singular values converged, standing statistics.

    The averaged weights never saw a batch of their own; the statistics are the mean over `batches` of 256.
    """
    model = copy.deepcopy(model).train()
    for parameter in model.parameters():
        parameter.copy_(parameter.half().float())
    norms = [m for m in model.modules() if isinstance(m, SpectralNorm)]
    for norm in norms:
        for _ in range(100):
            norm.normalised()
    g = torch.Generator().manual_seed(derived_seed(seed, "gan", "statistics"))
    stored = {name: buffer for name, buffer in model.named_buffers() if name.rpartition(".")[2].startswith("stored_")}
    sums = {name: torch.zeros_like(buffer) for name, buffer in stored.items()}
    for _ in range(batches):
        for buffer in stored.values():
            buffer.zero_()
        model(torch.randn(256, CONFIG.dim_z, generator=g), torch.randint(len(CLASSES), (256,), generator=g))
        for name, buffer in stored.items():
            # The layer wrote a tenth of the batch's statistic over zero.
            sums[name] += buffer * 10 / batches
    for name, buffer in stored.items():
        buffer.copy_(sums[name])
    return model.eval()


def save_gan(model: BigGANGenerator, folder: Path, steps: int, seed: int) -> None:
    """Write `model.safetensors` (weights fp16, buffers fp32) and `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    buffers = {name for name, _ in model.named_buffers()}
    tensors = {k: (v if k in buffers else v.half()).contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    config = {
        "id": MODEL_ID,
        "architecture": "BigGANGenerator",
        **asdict(CONFIG),
        "classes": list(CLASSES),
        "image_size": CONFIG.resolution,
        "trained_on": "rendered glyphs and procedural pen strokes",
        "steps": steps,
        "seed": seed,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def draw(model: BigGANGenerator, per_class: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return `per_class` samples for each digit, `(10 * per_class, 3, 32, 32)` in [-1, 1], and their digits."""
    g = torch.Generator().manual_seed(derived_seed(seed, "gan", "samples"))
    labels = torch.arange(len(CLASSES)).repeat_interleave(per_class)
    return model(torch.randn(len(labels), CONFIG.dim_z, generator=g), labels), labels


@torch.no_grad()
def recognised(model: BigGANGenerator, folder: Path, seed: int) -> tuple[float, float]:
    """Return the share of 1,000 samples that glyph-cnn in `folder` reads as their digit: of all characters, of digits.

    Its first ten classes are the digits.
    """
    judge = open_glyph_cnn(load_file(folder / "model.safetensors"))
    images, labels = draw(model, 100, seed)
    logits = judge(images / 2 + 0.5)
    hits = [(logits[:, :among].argmax(1) == labels).float().mean().item() for among in (None, len(CLASSES))]
    return hits[0], hits[1]


def document_gan(model: BigGANGenerator, path: Path, seed: int, columns: int = 20) -> None:
    """Write a row of samples for each digit, not selected."""
    from .pictures import save_grid

    save_grid(draw(model, columns, seed)[0], columns, path, scale=2)
