"""Facts for plans about a Stable Diffusion model: its folder, its schedulers and their steps; imports no torch.

A folder is checked by reading its JSON files only. The schedulers are read from diffusers' own text.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from ...errors import UsageError, nearest
from ..opening import local_folder, read_configuration, refuses_odd_values

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
_EXPECTED = "expected the diffusers layout of Stable Diffusion: unet, vae, scheduler, text_encoder, tokenizer"
_config = partial(read_configuration, expected=_EXPECTED)


@dataclass(frozen=True)
class VAELayout:
    """The facts about an autoencoder that decide shapes.

    Attributes:
        name: the foundation as the user named it, the subject of messages.
        folder: where it lies.
        latent_channels: channels of a latent.
        vae_factor: image px per latent px.
    """

    name: str
    folder: Path
    latent_channels: int
    vae_factor: int

    def latent_size(self, resolution: int, subject: str) -> int:
        """Return the side of a latent for images of ``resolution`` px.

        Args:
            resolution: side of the images in px.
            subject: the plugin that asks, the start of the message.

        Raises:
            UsageError: the VAE cannot take this resolution.
        """
        if resolution % self.vae_factor:
            raise UsageError(
                f"{subject}:resolution={resolution}: must be a multiple of {self.vae_factor}, "
                f"the reduction of the VAE of {self.name}"
            )
        return resolution // self.vae_factor


@dataclass(frozen=True)
class Layout(VAELayout):
    """The facts about a Stable Diffusion folder that decide shapes.

    Attributes:
        token_width: ``cross_attention_dim`` of the UNet, the width D of one token.
        scheduler: the scheduler's configuration.
    """

    token_width: int
    scheduler: Mapping[str, Any]


@refuses_odd_values
def read_vae_layout(folder: Path, name: str) -> VAELayout:
    """Check the autoencoder of a diffusers folder, or a folder that is one, and return its facts.

    Args:
        folder: a folder with ``vae``, or with the configuration and weights of an ``AutoencoderKL`` itself;
            ``VAELayout.folder`` is that of the autoencoder.
        name: how the user named it.

    Raises:
        UsageError: it is missing, is no JSON, has only pickled weights or is another kind of network.
    """
    inside = folder / "vae" if (folder / "vae").is_dir() or not (folder / "config.json").is_file() else folder
    config = _config(folder, name, "vae/config.json" if inside != folder else "config.json")
    _check_weights(inside, name)
    _check_vae(config, name)
    return VAELayout(name, inside, config["latent_channels"], _reduction(config))


@refuses_odd_values
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
        vae_factor=_reduction(vae),
        scheduler=scheduler,
    )


def native_side(model: str) -> int | None:
    """Return the side in px that a latent diffusion model was trained at: 512 for SD v1-4.

    Args:
        model: an embedded name, a folder or a hub id.

    Returns:
        The UNet's ``sample_size`` times the reduction of the autoencoder; ``None`` for a model that is not on this
        machine, does not say or cannot be used. The plan asks again when it has fetched it.
    """
    try:
        folder = _here(model, "")
        if folder is None:
            return None
        size = _config(folder, "", "unet/config.json").get("sample_size")
        vae = _config(folder, "", "vae/config.json")
        _check_vae(vae, "")
    except UsageError:
        return None  # check_at_plan says what is wrong with it
    sides = size if isinstance(size, list) else [size]
    known = bool(sides) and all(isinstance(item, int) and item > 0 for item in sides)
    return min(sides) * _reduction(vae) if known else None


def check_at_plan(model: str, resolution: int, subject: str, *, text: bool = False, vae_only: bool = False) -> None:
    """Check a Stable Diffusion model and a resolution from configuration files, if the model is on this machine.

    Args:
        model: an embedded name, a folder or a hub id. One that is not here is left to the preflight, which fetches
            it or says what is missing.
        resolution: side in px at which images are made.
        subject: the plugin that asks.
        text: whether the text encoder is needed.
        vae_only: whether nothing but the autoencoder is needed.

    Raises:
        UsageError: the folder or the resolution cannot be used.
    """
    folder = _here(model, subject)
    if folder:
        name = f"{subject}:model={model}"
        layout = read_vae_layout(folder, name) if vae_only else read_layout(folder, name, text=text)
        replace(layout, name=f"model={model}").latent_size(resolution, subject)


def _here(model: str, subject: str) -> Path | None:
    folder = local_folder(model)
    if folder and folder.is_file():
        raise UsageError(f"{subject}:model={model}: is a file; give a model's folder ({_EXPECTED})")
    return folder


def _reduction(vae: Mapping[str, Any]) -> int:
    """Return the image px per latent px of an autoencoder that was checked."""
    return 1 << (len(vae["block_out_channels"]) - 1)


def _check_weights(part: Path, name: str) -> None:
    if any(part.glob("*.safetensors")):
        return
    pickled = sorted(item.name for item in part.glob("*.bin"))
    remedy = f", only pickled {pickled[0]}; convert it" if pickled else "; fetch the folder again"
    raise UsageError(f"{name}: {part.name}/ has no safetensors weights{remedy}")


def _check_shapes(unet: Mapping[str, Any], vae: Mapping[str, Any], name: str) -> None:
    _check_vae(vae, name)
    latent = vae["latent_channels"]
    for key in ("in_channels", "out_channels"):
        if unet.get(key) != latent:
            raise UsageError(
                f"{name}: unet has {key} {unet.get(key)}, the vae makes {latent} latent channels; "
                "only plain text-to-image models can be used"
            )
    width = unet.get("cross_attention_dim")
    if not isinstance(width, int):
        raise UsageError(f"{name}: unet has cross_attention_dim {width!r}; it must be one number")
    for key in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim"):
        if unet.get(key) is not None:
            raise UsageError(
                f"{name}: unet needs more than text embeddings ({key}={unet[key]}), which is not supported"
            )


def _check_vae(vae: Mapping[str, Any], name: str) -> None:
    if not isinstance(vae.get("latent_channels"), int) or not vae.get("block_out_channels"):
        raise UsageError(
            f"{name}: vae/config.json is not that of an AutoencoderKL (latent_channels, block_out_channels)"
        )


_CLASS = re.compile(r"^class (\w+Scheduler)\(.*\bConfigMixin\b", re.MULTILINE)
#: They read a noise schedule but run backwards, need other inputs, or draw noise for a whole batch at once
#: (DPMSolverSDE), which would make an image depend on its neighbours.
_UNFIT = re.compile(r"Inverse|CogVideoX|UnCLIP|DPMSolverSDE")


@lru_cache(maxsize=1)
def scheduler_names() -> tuple[str, ...]:
    """Return the names of the installed diffusers schedulers that work on a discrete noise schedule, sorted.

    These are the classes whose module knows both ``beta_schedule`` and ``prediction_type``, so that the noise
    schedule and the prediction type of any foundation reach them through ``from_config``.
    """
    spec = importlib.util.find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations:
        return ()
    names: set[str] = set()
    for module in Path(next(iter(spec.submodule_search_locations)), "schedulers").glob("scheduling_*.py"):
        text = module.read_text("utf-8")
        if "flax" not in module.name and "beta_schedule" in text and "prediction_type" in text:
            names.update(name for name in _CLASS.findall(text) if not _UNFIT.search(name))
    return tuple(sorted(names))


def check_scheduler(name: str, subject: str) -> None:
    """Raise ``UsageError``, with the nearest names, unless ``name`` is a scheduler that can be used.

    Args:
        name: class name of a scheduler.
        subject: the plugin that asks, the start of the message.
    """
    known = scheduler_names()
    if known and name not in known:
        hint = nearest(name, known) or f"; one of {', '.join(known)}"
        raise UsageError(f"{subject}:scheduler={name}: not a diffusers scheduler for Stable Diffusion{hint}")


def steps_taken(num_inference_steps: int, strength: float) -> int:
    """Return how many of the steps an image-to-image chain takes: the share ``strength`` in (0, 1], rounded down."""
    return min(int(num_inference_steps * strength + 1e-9), num_inference_steps)
