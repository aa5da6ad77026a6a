"""Writes the trained parts as a Stable Diffusion pipeline folder, fp16, that diffusers opens as it stands."""

import copy
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from .diffusion import BETAS, Denoiser
from .tokens import build_tokenizer, save_tokenizer


def build_pipeline(vae: AutoencoderKL, model: Denoiser, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
    """Assemble the pipeline; the scheduler is Stable Diffusion v1's PNDM, told to expect v."""
    scheduler = PNDMScheduler(
        num_train_timesteps=1000,
        **BETAS,
        prediction_type="v_prediction",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    # PNDM has no such option, DDIM built from this configuration does, and latents here may leave [-1, 1].
    scheduler.register_to_config(clip_sample=False)
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(vae: AutoencoderKL, model: Denoiser, folder: Path) -> None:
    """Write the pipeline to `folder` in fp16, replacing what is there; the arguments keep their precision."""
    # A fresh one: a tokenizer that has been used would write down how it padded last.
    tokenizer = build_tokenizer()
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    half = build_pipeline(copy.deepcopy(vae), copy.deepcopy(model), tokenizer).to(torch.float16)
    half.save_pretrained(temporary, safe_serialization=True)
    save_tokenizer(tokenizer, temporary / "tokenizer")
    _under_published_names(temporary / "text_encoder" / "model.safetensors")
    for path in temporary.rglob("*.json"):
        _without_origin(path)
    for path in temporary.rglob("*.safetensors"):
        # The library writes them for the owner alone; package data is for all.
        path.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _under_published_names(path: Path) -> None:
    """Give a text encoder's weights the names that Stable Diffusion's have; transformers 5 drops their first part,
    and transformers 4 knows no others.
    """
    prefix = "text_model."
    weights = {prefix + name.removeprefix(prefix): value for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})


def _without_origin(path: Path) -> None:
    """Drop the folder of the machine that wrote a configuration."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
