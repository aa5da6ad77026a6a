"""Opens a foundation in the diffusers folder format: embedded names, local folders and hub ids alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...errors import BenchError, UsageError
from ..autoencoder import Autoencoder, frozen
from ..opening import open_part, quiet, refuse_missing
from .layout import Layout, read_layout

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Parts(Autoencoder):
    """The autoencoder and the UNet of a foundation, frozen, in eval mode on one device.

    Attributes:
        layout: shapes and scheduler configuration.
        unet: a ``UNet2DConditionModel``, in ``dtype``, channels last on CUDA.
        dtype: what the UNet computes in; embeddings, losses and latents stay fp32.
    """

    layout: Layout
    unet: Any
    dtype: torch.dtype

    def predict(self, latents: torch.Tensor, timestep: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Run the UNet, fp32 in and out: latents ``(B, C, h, w)``, timesteps ``(B,)`` or one, tokens ``(B, K, D)``."""
        out = self.unet(
            latents.to(self.dtype), timestep, encoder_hidden_states=tokens.to(self.dtype), return_dict=False
        )
        return out[0].float()


def load_parts(folder: Path, name: str, *, device: str, precision: str) -> Parts:
    """Open UNet, VAE and scheduler configuration of a folder, frozen, from safetensors only.

    Raises:
        UsageError: a part is missing or does not fit.
        BenchError: weights that are truncated, or of another network than the configuration says.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel

    layout = read_layout(folder, name)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    unet = open_part(UNet2DConditionModel.from_pretrained, folder, "unet", name, torch_dtype=dtype)
    vae = open_part(AutoencoderKL.from_pretrained, folder, "vae", name, torch_dtype=torch.float32)
    place = torch.device(device)
    return Parts(layout, frozen(vae, place), place, frozen(unet, place), dtype)


class TextEncoder:
    """The tokenizer and the CLIP text encoder of a foundation, fp32.

    Args:
        folder: the foundation's folder.
        name: how the user named it.
        device: where the encoder runs.

    Raises:
        UsageError: no text encoder, or one whose width is not the UNet's ``cross_attention_dim``.
    """

    def __init__(self, folder: Path, name: str, *, device: str = "cpu") -> None:
        from transformers import CLIPTokenizer

        layout = read_layout(folder, name, text=True)
        encoder = _open_text_encoder(folder / "text_encoder", name)
        with quiet(name, "tokenizer"):
            self.tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
        if encoder.config.hidden_size != layout.token_width:
            raise UsageError(
                f"{name}: text encoder is {encoder.config.hidden_size} wide, "
                f"unet expects cross_attention_dim {layout.token_width}"
            )
        self.device = torch.device(device)
        self.encoder = encoder.requires_grad_(False).eval().to(self.device)
        #: Tokens it takes at most, and the length that stock pipelines pad a prompt to.
        self.limit: int = encoder.config.max_position_embeddings
        self.length = min(self.tokenizer.model_max_length, self.limit)

    def encode(self, prompts: Sequence[str], num_tokens: int | None = None) -> torch.Tensor:
        """Return the last hidden state for n prompts of K = ``num_tokens``, fp32 ``(n, K, D)``.

        The tokenizer pads and truncates to K, start and end tokens included; ``None`` is the whole length, as in
        stock pipelines.
        """
        given = self.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=num_tokens or self.length,
            return_tensors="pt",
        ).to(self.device)
        mask = given.attention_mask if getattr(self.encoder.config, "use_attention_mask", False) else None
        with torch.inference_mode():
            return self.encoder(given.input_ids, attention_mask=mask).last_hidden_state.clone()


def _open_text_encoder(part: Path, name: str) -> Any:
    """Open a ``CLIPTextModel`` in fp32, under whatever names its weights have.

    transformers 4 writes and reads them below ``text_model.``, transformers 5 writes them without and reads both.

    Raises:
        BenchError: weights that are truncated, or of another network than the configuration says.
    """
    from safetensors.torch import load_file
    from transformers import CLIPTextConfig, CLIPTextModel

    files = sorted(part.glob("*.safetensors"), key=lambda item: (".fp16." in item.name, item.name))
    with quiet(name, part.name, part.glob("*.safetensors")):
        encoder = CLIPTextModel(CLIPTextConfig.from_pretrained(str(part), local_files_only=True))
        weights = {key.removeprefix("text_model."): value for key, value in load_file(files[0]).items()}
    wanted = encoder.state_dict()
    refuse_missing((key for key in wanted if key.removeprefix("text_model.") not in weights), part.name, name)
    state = {key: weights[key.removeprefix("text_model.")] for key in wanted}
    other = sorted(key for key, value in state.items() if value.shape != wanted[key].shape)
    if other:
        raise BenchError(
            f"{name}: {part.name}/ has weights of other shapes than its config.json says "
            f"(first: {other[0]}); fetch the folder again"
        )
    encoder.load_state_dict(state)
    return encoder


def encode_prompts(folder: Path, name: str, prompts: Sequence[str], num_tokens: int, subject: str) -> torch.Tensor:
    """Return the text encoder's output for n prompts cut to K = ``num_tokens``, fp32 ``(n, K, D)`` on the CPU.

    The tokenizer pads and truncates to ``num_tokens``, start and end tokens included, as the authors of
    Diffusion Inversion (Zhou et al. 2023) do for the empty prompt.

    Args:
        folder: the foundation's folder.
        name: how the user named it.
        prompts: n texts.
        num_tokens: K.
        subject: the plugin that asks, the start of a message about ``num_tokens``.

    Raises:
        UsageError: as :class:`TextEncoder`, or one that takes fewer than K tokens.
    """
    encoder = TextEncoder(folder, name)
    if num_tokens > encoder.limit:
        raise UsageError(f"{subject}:num_tokens={num_tokens}: the text encoder of {name} takes at most {encoder.limit}")
    return encoder.encode(prompts, num_tokens)
