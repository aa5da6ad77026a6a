"""Opens a foundation in the diffusers folder format: embedded names, local folders and hub ids alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from benchbench.errors import BenchError, UsageError

from .layout import Layout, read_layout

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Parts:
    """The frozen networks of a foundation, in eval mode on one device.

    Attributes:
        layout: shapes and scheduler configuration.
        unet: a ``UNet2DConditionModel``, in ``dtype``, channels last on CUDA.
        vae: an ``AutoencoderKL``, always fp32.
        dtype: what the UNet computes in; embeddings, losses and latents stay fp32.
        device: where both are.
    """

    layout: Layout
    unet: Any
    vae: Any
    dtype: torch.dtype
    device: torch.device

    def predict(self, latents: torch.Tensor, timestep: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Run the UNet, fp32 in and out: latents ``(B, C, h, w)``, timesteps ``(B,)`` or one, tokens ``(B, K, D)``."""
        out = self.unet(
            latents.to(self.dtype), timestep, encoder_hidden_states=tokens.to(self.dtype), return_dict=False
        )
        return out[0].float()

    def posterior(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation ``(B, C, h, w)`` of the scaled latents of ``(B, 3, R, R)`` in [-1, 1]."""
        with torch.inference_mode():
            found = self.vae.encode(images).latent_dist
            mean = (found.mean - self._shift) * self.vae.config.scaling_factor
            std = found.std * self.vae.config.scaling_factor
        return mean.clone(), std.clone()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return uint8 images ``(B, R, R, 3)`` on the CPU for scaled latents ``(B, C, h, w)``."""
        with torch.inference_mode():
            pixels = self.vae.decode(latents / self.vae.config.scaling_factor + self._shift).sample
            levels = (pixels.clamp(-1, 1) + 1) * 127.5
            return levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0


def load_parts(folder: Path, name: str, *, device: str, precision: str) -> Parts:
    """Open UNet, VAE and scheduler configuration of a folder, frozen, from safetensors only.

    Raises:
        UsageError: a part is missing or does not fit.
        BenchError: weights that are truncated, or of another network than the configuration says.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    layout = read_layout(folder, name)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    unet = _open(UNet2DConditionModel.from_pretrained, layout, "unet", torch_dtype=dtype)
    vae = _open(AutoencoderKL.from_pretrained, layout, "vae", torch_dtype=torch.float32)
    place = torch.device(device)
    for part in (unet, vae):
        part.requires_grad_(False).eval().to(place)
        if place.type == "cuda":
            part.to(memory_format=torch.channels_last)
    return Parts(layout, unet, vae, dtype, place)


def encode_prompts(folder: Path, name: str, prompts: Sequence[str], num_tokens: int) -> torch.Tensor:
    """Return the text encoder's output for n prompts cut to K = ``num_tokens``, fp32 ``(n, K, D)``.

    The tokenizer pads and truncates to ``num_tokens``, start and end tokens included, as the authors' code
    does for the empty prompt.

    Raises:
        UsageError: no text encoder, or one whose width is not the UNet's ``cross_attention_dim``.
    """
    from transformers import CLIPTextModel, CLIPTokenizer

    layout = read_layout(folder, name, text=True)
    encoder = _open(CLIPTextModel.from_pretrained, layout, "text_encoder").float().eval()
    with _quiet(layout, "tokenizer"):
        tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    limit, width = encoder.config.max_position_embeddings, encoder.config.hidden_size
    if num_tokens > limit:
        raise UsageError(f"diffinv:num_tokens={num_tokens}: the text encoder of {name} takes at most {limit}")
    if width != layout.token_width:
        raise UsageError(f"{name}: text encoder is {width} wide, unet expects cross_attention_dim {layout.token_width}")
    ids = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=num_tokens, return_tensors="pt"
    ).input_ids
    with torch.inference_mode():
        hidden = encoder(ids).last_hidden_state
    return hidden.clone()


def _open(load: Callable[..., Any], layout: Layout, part: str, **options: Any) -> Any:
    """Call ``from_pretrained`` on one subfolder and refuse weights that do not fill the network."""
    weights = layout.folder / part
    if not (weights / "diffusion_pytorch_model.safetensors").exists() and any(weights.glob("*.fp16.safetensors")):
        options["variant"] = "fp16"
    with _quiet(layout, part):
        model, told = load(
            str(layout.folder),
            subfolder=part,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    missing = sorted(told.get("missing_keys", ()))
    if missing:
        raise BenchError(
            f"{layout.name}: {part}/ lacks {len(missing)} weights that its config.json asks for "
            f"(first: {missing[0]}); fetch the folder again"
        )
    return model


@contextmanager
def _quiet(layout: Layout, part: str) -> Iterator[None]:
    """Turn what a library raises while opening a part into one line, and silence its chatter."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    before = diffusers_logging.get_verbosity(), transformers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    transformers_logging.set_verbosity_error()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # from_pretrained raises whatever its readers raise
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BenchError(f"{layout.name}: {part}/ cannot be opened ({why}); fetch the folder again") from None
    finally:
        diffusers_logging.set_verbosity(before[0])
        transformers_logging.set_verbosity(before[1])
        if bars:
            transformers_logging.enable_progress_bar()
