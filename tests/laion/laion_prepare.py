"""Run by the other environment's Python: pictures, their embeddings by glyph-clip, and a CLIP for the server to load.

Writes below the folder given: ``pictures/*.png`` (digits of scikit-learn at 32 px), ``embeddings/`` as
``clip-retrieval inference`` lays it out, ``server-clip/`` (random, with the sizes of OpenAI's tokenizer, which the
server insists on).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits
from transformers import CLIPConfig, CLIPModel

from benchbench.models.clip.model import open_clip_model
from benchbench.plugins.locate import locate

COUNT = 240


def main(folder: Path, base: str) -> None:
    digits = load_digits()
    # From the end: the dataset plugin shuffles, and nothing here depends on which digits these are.
    grey = (digits.images[-COUNT:] * 255 / 16).round().astype(np.uint8)
    images = np.stack([np.array(Image.fromarray(item).convert("RGB").resize((32, 32))) for item in grey])
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number, image in enumerate(images):
        path = folder / "pictures" / f"{number:03d}.png"
        Image.fromarray(image).save(path)
        # Every third has its file where the server can send it, the others a link, every fortieth a dead one.
        here = str(path) if number % 3 == 0 else str(path.with_suffix(".gone"))
        link = f"{base}/{'gone' if number % 40 == 39 else 'pictures'}/{path.name}"
        caption = f"a photo of the digit {digits.target[len(digits.target) - COUNT + number]}."
        rows.append({"image_path": here, "url": link, "caption": caption})
    embedded = open_clip_model(locate("glyph-clip"), "glyph-clip").encode_images(images)
    (folder / "embeddings" / "img_emb").mkdir(parents=True)
    (folder / "embeddings" / "metadata").mkdir()
    np.save(folder / "embeddings" / "img_emb" / "img_emb_0.npy", embedded.astype(np.float16))
    pd.DataFrame(rows).to_parquet(folder / "embeddings" / "metadata" / "metadata_0.parquet")
    np.save(folder / "queries.npy", embedded)
    server_clip(folder / "server-clip")


def server_clip(folder: Path) -> None:
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 49_408, "max_position_embeddings": 77, "eos_token_id": 49_407},
        vision_config={**tower, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    for path in locate("glyph-clip").iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            shutil.copy(path, folder / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
