"""What a foundation's folder must hold to be inverted, checked by reading its JSON files only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchbench.errors import UsageError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class Layout:
    """The facts about a Stable Diffusion folder that decide shapes.

    Attributes:
        name: the foundation as the user named it, the subject of messages.
        folder: where it lies.
        token_width: ``cross_attention_dim`` of the UNet, the width D of one learned token.
        latent_channels: channels of a latent.
        vae_factor: image px per latent px.
        scheduler: the scheduler's configuration.
    """

    name: str
    folder: Path
    token_width: int
    latent_channels: int
    vae_factor: int
    scheduler: Mapping[str, Any]

    def latent_size(self, resolution: int) -> int:
        """Return the side of a latent for images of ``resolution`` px.

        Raises:
            UsageError: the VAE cannot take this resolution.
        """
        if resolution % self.vae_factor:
            raise UsageError(
                f"diffinv:resolution={resolution}: must be a multiple of {self.vae_factor}, "
                f"the reduction of the VAE of {self.name}"
            )
        return resolution // self.vae_factor


def read_layout(folder: Path, name: str, *, text: bool = False) -> Layout:
    """Check a folder in the diffusers layout of Stable Diffusion and return its facts.

    Args:
        folder: the folder with ``unet``, ``vae`` and ``scheduler`` (``text_encoder`` and ``tokenizer`` too if
            ``text``).
        name: how the user named it.
        text: whether the text encoder is needed.

    Raises:
        UsageError: a part is missing, is no JSON, has only pickled weights or has shapes that do not fit.
    """
    unet = _config(folder, name, "unet/config.json")
    vae = _config(folder, name, "vae/config.json")
    scheduler = _config(folder, name, "scheduler/scheduler_config.json")
    weights = ["unet", "vae"]
    if text:
        _config(folder, name, "text_encoder/config.json")
        if not (folder / "tokenizer").is_dir():
            raise UsageError(f"{name}: no tokenizer/ in the folder; {_EXPECTED}")
        weights.append("text_encoder")
    for part in weights:
        _check_weights(folder / part, name)
    _check_shapes(unet, vae, name)
    kind = scheduler.get("prediction_type", "epsilon")
    if kind not in PREDICTION_TYPES:
        raise UsageError(f"{name}: scheduler has prediction_type {kind!r}; known are {', '.join(PREDICTION_TYPES)}")
    return Layout(
        name=name,
        folder=folder,
        token_width=unet["cross_attention_dim"],
        latent_channels=vae["latent_channels"],
        vae_factor=2 ** (len(vae["block_out_channels"]) - 1),
        scheduler=scheduler,
    )


_EXPECTED = "expected the diffusers layout of Stable Diffusion: unet, vae, scheduler, text_encoder, tokenizer"


def _config(folder: Path, name: str, part: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / part).read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{name}: no {part} in the folder; {_EXPECTED}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {part} cannot be read as JSON ({error}); fetch the folder again") from None
    if not isinstance(config, dict):
        raise UsageError(f"{name}: {part} is not a configuration (a JSON object); fetch the folder again")
    return config


def _check_weights(part: Path, name: str) -> None:
    if any(part.glob("*.safetensors")):
        return
    pickled = sorted(item.name for item in part.glob("*.bin"))
    found = f"only pickled {pickled[0]}; convert it" if pickled else "none; fetch the folder again"
    raise UsageError(f"{name}: {part.name}/ has no safetensors weights, {found}")


def _check_shapes(unet: Mapping[str, Any], vae: Mapping[str, Any], name: str) -> None:
    latent = vae.get("latent_channels")
    if not isinstance(latent, int) or not vae.get("block_out_channels"):
        raise UsageError(
            f"{name}: vae/config.json is not that of an AutoencoderKL (latent_channels, block_out_channels)"
        )
    for key in ("in_channels", "out_channels"):
        if unet.get(key) != latent:
            raise UsageError(
                f"{name}: unet has {key} {unet.get(key)}, the vae makes {latent} latent channels; "
                "only plain text-to-image models can be inverted"
            )
    width = unet.get("cross_attention_dim")
    if not isinstance(width, int):
        raise UsageError(f"{name}: unet has cross_attention_dim {width!r}; it must be one number")
    for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type"):
        if unet.get(key) is not None:
            raise UsageError(
                f"{name}: unet needs more than text embeddings ({key}={unet[key]}), which is not supported"
            )
