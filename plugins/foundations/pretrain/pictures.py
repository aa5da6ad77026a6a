"""Small pictures of a training: grids of images and loss curves, a few tens of kilobytes each."""

import csv
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw
from torch import Tensor

from .captions import CHARACTERS

GRID_PROMPTS = (
    *(f"a photo of the {c.name}" for c in CHARACTERS[:10]),
    "a photo of the capital letter a",
    "a photo of the small letter g",
    "a photo of the digit seven, bold",
    "a photo of the digit seven, slanted right",
    "a photo of the digit five, on a light background",
    "a photo of the ampersand",
)


def save_grid(images: Tensor, columns: int, path: Path, scale: int = 1) -> None:
    """Write images `(N, C, H, W)` in [-1, 1], N a multiple of `columns`, as one grey PNG."""
    pixels = ((images.mean(1).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    _, height, width = pixels.shape
    tiles = pixels.reshape(-1, columns, height, width).transpose(1, 2)
    picture = Image.fromarray(tiles.reshape(-1, columns * width).numpy())
    size = (picture.width * scale, picture.height * scale)
    picture.resize(size, Image.Resampling.NEAREST).save(path, optimize=True)


@torch.no_grad()
def sample_prompts(
    pipeline: StableDiffusionPipeline, prompts: list[str], guidance: float, seed: int, steps: int = 25
) -> Tensor:
    """Return one image per prompt, `(N, 3, 32, 32)` in [-1, 1]."""
    out = pipeline(
        prompts,
        guidance_scale=guidance,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    )
    return out.images.float() * 2 - 1


def sample_grid(pipeline: StableDiffusionPipeline, path: Path, guidance: float, seed: int, columns: int = 10) -> None:
    """Write one row of samples per prompt of GRID_PROMPTS."""
    prompts = [prompt for prompt in GRID_PROMPTS for _ in range(columns)]
    save_grid(sample_prompts(pipeline, prompts, guidance, seed), columns, path, scale=2)


def save_curve(log: Path, path: Path, title: str) -> None:
    """Draw the CSV that `LossLog` wrote, as points and a running mean, with Pillow alone."""
    with log.open(newline="") as file:
        rows = [(int(r["step"]), float(r["loss"])) for r in csv.DictReader(file)]
    if len(rows) < 2:
        return
    width, height, margin = 640, 320, 44
    # The first steps would flatten all that follows.
    shown = [loss for _, loss in rows[min(3, len(rows) - 2) :]]
    low, high = min(shown), max(shown)
    span, last = max(high - low, 1e-9), rows[-1][0]

    def place(step: int, loss: float) -> tuple[float, float]:
        x = margin + step / last * (width - 2 * margin)
        return x, height - margin - min(1.0, (loss - low) / span) * (height - 2 * margin)

    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((margin, margin, width - margin, height - margin), outline="#999999")
    for step, loss in rows:
        x, y = place(step, loss)
        draw.ellipse((x - 1, y - 1, x + 1, y + 1), fill="#9bbbe0")
    window = max(1, len(rows) // 30)
    means = [sum(v for _, v in rows[i : i + window]) / window for i in range(len(rows) - window + 1)]
    line = [place(rows[i + window // 2][0], mean) for i, mean in enumerate(means)]
    draw.line(line, fill="#14508c", width=2)
    draw.text((margin, 14), f"{title}: loss against step", fill="black")
    for text, at in ((f"{high:.3f}", (2, margin - 6)), (f"{low:.3f}", (2, height - margin - 6))):
        draw.text(at, text, fill="black")
    draw.text((margin, height - margin + 8), "0", fill="black")
    draw.text((width - margin - 30, height - margin + 8), f"{last}", fill="black")
    canvas.quantize(32).save(path, optimize=True)
