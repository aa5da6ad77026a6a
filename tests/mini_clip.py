"""Randomly initialised CLIPs in the published formats: real configurations, few and narrow layers.

``write_mini_vit`` has what openai/clip-vit-base-patch16 has: patch 16 of 224 px, 77 positions, 512 wide
embeddings, quick_gelu and an image processor written with plain numbers. ``write_mini_clip`` is the smallest.
``write_mini_resnet`` is OpenAI's RN50 as open_clip stores it, at 64 px.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mini_sd import END, START, write_tokenizer

OPENAI_MEAN = [0.48145466, 0.4578275, 0.40821073]
OPENAI_STD = [0.26862954, 0.26130258, 0.27577711]


def write_mini_vit(folder: Path, seed: int = 0, image_size: int = 224) -> Path:
    """Write a CLIPModel folder, safetensors; same arguments, same weights."""
    narrow = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "hidden_act": "quick_gelu"}
    vision = {"image_size": image_size, "patch_size": 16, "num_attention_heads": 4, **narrow}
    processor = {
        "crop_size": image_size,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "resample": 3,
        "size": image_size,
    }
    return _write_clip(folder, seed, {"num_attention_heads": 2, **narrow}, vision, 512, processor)


def write_mini_clip(folder: Path, seed: int = 0) -> Path:
    """Write a CLIP that sees 32 px and embeds in 16 numbers, with an image processor as transformers writes it now."""
    narrow = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 32},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "do_convert_rgb": True,
    }
    return _write_clip(folder, seed, narrow, {"image_size": 32, "patch_size": 8, **narrow}, 16, processor)


def _write_clip(
    folder: Path, seed: int, text: dict[str, Any], vision: dict[str, Any], width: int, processor: dict[str, Any]
) -> Path:
    """Write a model of two transformers with 77 positions, its tokenizer and its image processor."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    ids = write_tokenizer(folder)
    tokens = {"bos_token_id": ids[START], "eos_token_id": ids[END], "pad_token_id": ids[END]}
    text = {"vocab_size": len(ids), "max_position_embeddings": 77, **tokens, **text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width))
    model.save_pretrained(str(folder), safe_serialization=True)
    whole = {**processor, "image_mean": OPENAI_MEAN, "image_std": OPENAI_STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(whole), "utf-8")
    return folder


def write_mini_resnet(folder: Path, seed: int = 0) -> Path:
    """Write an open_clip folder as its hub repositories are; needs open_clip."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    model_cfg = {
        "embed_dim": 96,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    whole = {"model_cfg": model_cfg, "preprocess_cfg": {"mean": OPENAI_MEAN, "std": OPENAI_STD}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(whole), "utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = CLIP(**model_cfg).state_dict()
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "open_clip_model.safetensors")
    return folder
