"""Writes the trained CLIP as a folder that transformers opens as it stands, and what documents it."""

import copy
import csv
import json
import shutil
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from .captions import CHARACTERS
from .contrastive import HELD_OUT_CHUNK, embed_images, embed_texts, tokens
from .corpus import IMAGE_SIZE, Corpus
from .pictures import GRID_PROMPTS, save_grid
from .tokens import build_tokenizer, save_tokenizer

# What CLIPImageProcessor reads, as the releases before and after transformers 5 spell it.
_PREPROCESSING = {
    "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": IMAGE_SIZE},
}


def save_clip(model: CLIPModel, folder: Path) -> None:
    """Write the model to `folder` in fp16, replacing what is there; the argument keeps its precision."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    copy.deepcopy(model).half().save_pretrained(temporary, safe_serialization=True)
    # A fresh one: a tokenizer that has been used would write down how it padded last.
    save_tokenizer(build_tokenizer(), temporary)
    (temporary / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSING, indent=2) + "\n", encoding="utf-8")
    (temporary / "model.safetensors").chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


@torch.no_grad()
def document_clip(
    model: CLIPModel, tokenizer: CLIPTokenizer, corpus: Corpus, confusion: Tensor, folder: Path, columns: int = 16
) -> None:
    """Write `clip_retrieval.png` and `clip_zero_shot.csv` to `folder`.

    The picture has a row per prompt of GRID_PROMPTS: the images whose embeddings lie closest to the
    prompt's, among 2,048 that training never drew. The table holds, per character, how many of `confusion`'s
    images are named rightly, and what the others are called most often.
    """
    batches = [corpus.batch(HELD_OUT_CHUNK + i, 512).images for i in range(4)]
    images = torch.cat(batches)
    cosines = embed_texts(model, tokens(tokenizer, list(GRID_PROMPTS))) @ embed_images(model, images).T
    save_grid(images[cosines.topk(columns).indices.flatten()], columns, folder / "clip_retrieval.png")
    with (folder / "clip_zero_shot.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["character", "images", "recall", "confused_with"])
        for i, character in enumerate(CHARACTERS):
            row = confusion[i].clone()
            total, right = int(row.sum()), int(row[i])
            row[i] = 0
            other = CHARACTERS[int(row.argmax())].name if row.sum() else ""
            writer.writerow([character.name, total, f"{right / total:.3f}" if total else "", other])
