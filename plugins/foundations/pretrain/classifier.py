"""glyph-cnn: a small classifier of the corpus, whose penultimate features measure images of characters."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..glyph_cnn_model import GlyphCNN
from .captions import CHARACTERS
from .corpus import Corpus
from .training import LossLog, Report

_BATCH, _CHUNK, _LR = 64, 512, 3e-3
MODEL_ID = "glyphcnn-v1"


def train_classifier(corpus: Corpus, folder: Path, steps: int, seed: int, report: Report) -> tuple[GlyphCNN, float]:
    """Train for `steps` batches of 64; return the model and its accuracy on held-out batches."""
    torch.manual_seed(seed)
    model = GlyphCNN(len(CHARACTERS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LR, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=steps, pct_start=0.1)
    log = LossLog(folder / "cnn_loss.csv", steps, report)
    per_chunk = _CHUNK // _BATCH
    for step in range(steps):
        if step % per_chunk == 0:
            batch = corpus.batch(2_000_000 + step // per_chunk, _CHUNK)
        rows = slice(step % per_chunk * _BATCH, (step % per_chunk + 1) * _BATCH)
        logits = model(batch.images[rows] / 2 + 0.5)
        loss = torch.nn.functional.cross_entropy(logits, batch.chars[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        log.add(step + 1, loss.item())
    accuracy = held_out_accuracy(model.eval(), corpus)
    report(f"cnn: {accuracy:.1%} of held-out characters")
    return model, accuracy


@torch.no_grad()
def held_out_accuracy(model: GlyphCNN, corpus: Corpus) -> float:
    """Return the share of 2,048 corpus images, which training never drew, whose character is recognised."""
    hits = []
    for i in range(4):
        batch = corpus.batch(3_000_000 + i, 512)
        hits.append(model(batch.images / 2 + 0.5).argmax(1) == batch.chars)
    return float(torch.cat(hits).float().mean())


def save_classifier(model: GlyphCNN, folder: Path, accuracy: float, steps: int, seed: int) -> None:
    """Write `model.safetensors` (fp32) and `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    config = {
        "id": MODEL_ID,
        "architecture": "GlyphCNN",
        "num_classes": len(CHARACTERS),
        "feature_dim": 128,
        "image_size": 32,
        "classes": [c.name for c in CHARACTERS],
        "trained_on": "rendered glyphs and procedural pen strokes",
        "held_out_accuracy": round(accuracy, 4),
        "steps": steps,
        "seed": seed,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
