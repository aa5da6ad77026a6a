"""Pools of pictures in every format that one can bring, and a small CLIP to index them by."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mini_sd import END, START, write_tokenizer
from PIL import Image


def write_pool_clip(folder: Path, seed: int = 0, side: int = 16, width: int = 24) -> Path:
    """Write a randomly initialised CLIP ViT as transformers does; its images are ``side`` px."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    vocabulary = write_tokenizer(folder)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {"vocab_size": len(vocabulary), "max_position_embeddings": 77, "bos_token_id": vocabulary[START]}
    text |= {"eos_token_id": vocabulary[END], "pad_token_id": vocabulary[END]}
    config = CLIPConfig(
        text_config={**tower, **text},
        vision_config={**tower, "image_size": side, "patch_size": side // 2},
        projection_dim=width,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        CLIPModel(config).save_pretrained(str(folder), safe_serialization=True)
    processor = {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True}
    processor |= {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor), "utf-8")
    return folder


def noise(count: int, side: int = 16, seed: int = 0) -> np.ndarray:
    """Return smooth random pictures, uint8 ``(count, side, side, 3)``, far enough apart to be told from each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture as the bytes of a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def write_folder(folder: Path, pictures: np.ndarray, captions: bool = True) -> Path:
    """Write PNG files, two to a subfolder, with a text beside every other one."""
    for number, pixels in enumerate(pictures):
        place = folder / f"part {number // 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04d}.png").write_bytes(encoded(pixels))
        if captions and number % 2 == 0:
            (place / f"{number:04d}.txt").write_text(f"picture\n  {number}", "utf-8")
    return folder


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write a tar of files, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_webdataset(folder: Path, pictures: np.ndarray, per_shard: int = 4) -> Path:
    """Write WebDataset shards: each picture with its caption, as text or inside its metadata."""
    for start in range(0, len(pictures), per_shard):
        members: dict[str, bytes] = {}
        for number, pixels in enumerate(pictures[start : start + per_shard], start):
            members[f"{number:09d}.png"] = encoded(pixels)
            if number % 2:
                members[f"{number:09d}.json"] = json.dumps({"caption": f"picture {number}", "url": "x"}).encode()
            else:
                members[f"{number:09d}.txt"] = f"picture {number}".encode()
        write_tar(folder / f"{start // per_shard:05d}.tar", members)
    return folder


def write_parquet(folder: Path, pictures: Sequence[np.ndarray | bytes | None], rows_per_group: int = 3) -> Path:
    """Write one shard as img2dataset does with ``output_format=parquet``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    contents = [encoded(item) if isinstance(item, np.ndarray) else item for item in pictures]
    table = pa.table(
        {
            "key": [f"{number:09d}" for number in range(len(contents))],
            "caption": [f"picture {number}" for number in range(len(contents))],
            "url": [f"https://example.org/{number}.png" for number in range(len(contents))],
            "status": ["success" if item else "failed_to_download" for item in contents],
            "jpg": pa.array(contents, pa.binary()),
        }
    )
    pq.write_table(table, folder / "00000.parquet", row_group_size=rows_per_group)
    return folder


def write_clip_retrieval(
    folder: Path, vectors: np.ndarray, metadata: Mapping[str, Sequence[object]], files: int = 2, factory: str = "Flat"
) -> Path:
    """Write what ``clip-retrieval index`` 2.45 leaves: autofaiss' index and facts, and the inference's metadata."""
    import faiss
    import pandas as pd

    (folder / "metadata").mkdir(parents=True)
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    faiss.write_index(index, str(folder / "image.index"))
    (folder / "image.json").write_text(json.dumps({"index_key": factory, "nb vectors": len(vectors)}), "utf-8")
    table, step = pd.DataFrame(metadata), -(-len(vectors) // files)
    for number in range(files):
        part = table[number * step : (number + 1) * step]
        part.to_parquet(folder / "metadata" / f"metadata_{number}.parquet")
    return folder
