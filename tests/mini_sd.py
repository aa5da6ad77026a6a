"""A randomly initialised Stable Diffusion folder: the configuration of v1-4, few and narrow layers.

What another program sees is as in v1-4: cross_attention_dim 768, a 768-wide CLIPTextModel with 77 positions,
4 latent channels under a VAE that reduces 8 times, a byte-level BPE tokenizer, PNDM. To have one:
``python tests/mini_sd.py FOLDER``.
"""

from __future__ import annotations

import json
from pathlib import Path

WIDTH = 768
START, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = ("a", "photo", "of", "the", "digit", "zero", "one", "two", "an", "image")


def write_mini_sd(folder: Path, prediction_type: str = "epsilon", seed: int = 0) -> Path:
    """Write the pipeline as diffusers does, with safetensors; same arguments, same bytes."""
    import torch
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=WIDTH,
            intermediate_size=64,
            projection_dim=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=12,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            bos_token_id=vocabulary[START],
            eos_token_id=vocabulary[END],
            pad_token_id=vocabulary[END],
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            center_input_sample=False,
            flip_sin_to_cos=True,
            freq_shift=0,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=(32, 32),
            layers_per_block=1,
            downsample_padding=1,
            mid_block_scale_factor=1,
            act_fn="silu",
            norm_num_groups=32,
            norm_eps=1e-5,
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
        )
        vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            act_fn="silu",
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
            scaling_factor=0.18215,
        )
        encoder = CLIPTextModel(text)
    scheduler = PNDMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        trained_betas=None,
        skip_prk_steps=True,
        set_alpha_to_one=False,
        prediction_type=prediction_type,
        steps_offset=1,
    )
    scheduler.register_to_config(clip_sample=False)  # v1-4 has this key, which PNDM ignores
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(str(folder), safe_serialization=True)
    return folder


def write_tokenizer(folder: Path) -> dict[str, int]:
    """Write a tokenizer in CLIP's own format, each of a few words one token; returns its vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = list(_bytes_as_letters())
    vocabulary = letters + [letter + "</w>" for letter in letters]
    merges: list[str] = []
    for word in _WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merge = f"{parts[0]} {parts[1]}"
            if merge not in merges:
                merges.append(merge)
                vocabulary.append(parts[0] + parts[1])
            parts[:2] = [parts[0] + parts[1]]
    vocabulary += [START, END]
    ids = {token: number for number, token in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special), "utf-8")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return ids


def _bytes_as_letters() -> list[str]:
    """Return a printable letter for each byte, as byte-level BPE vocabularies list them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(rest))]


if __name__ == "__main__":
    import sys

    write_mini_sd(Path(sys.argv[1]))
