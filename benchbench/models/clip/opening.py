"""The towers of a CLIP in open_clip's format, such as OpenAI's ResNets."""

from __future__ import annotations

import torch

from ...errors import BenchError, MissingError
from ..opening import unread
from .layout import ClipLayout, weight_files
from .towers import Towers
from .transformers import check_keys

# What OpenAI's own files hold beside weights.
_FACTS = ("input_resolution", "context_length", "vocab_size")


def open_towers(layout: ClipLayout, device: str) -> Towers:
    """Return the towers with their weights, on ``device``.

    Raises:
        MissingError: open_clip is not installed.
        BenchError: a file that cannot be read, or weights that do not fit the configuration.
    """
    try:
        from open_clip import SimpleTokenizer
        from open_clip.model import CLIP, CustomTextCLIP
    except ImportError:
        raise MissingError(
            f"{layout.name}: a model in open_clip's format, and open_clip is not installed; "
            "run `pip install 'benchbench[openclip]'`"
        ) from None
    config = dict(layout.config)
    build = CustomTextCLIP if config.pop("custom_text", False) else CLIP
    try:
        model = build(**config)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise BenchError(
            f"{layout.name}: open_clip does not build what open_clip_config.json describes "
            f"({(str(error).splitlines() or ['no reason given'])[0]}); a newer open_clip may"
        ) from None
    _fill(model, layout)
    model = model.float().to(device).eval().requires_grad_(False)
    text = layout.config.get("text_cfg") or {}
    tokenizer = SimpleTokenizer(context_length=layout.positions, **(text.get("tokenizer_kwargs") or {}))

    def tokenize(texts: list[str]) -> torch.Tensor:
        ids: torch.Tensor = tokenizer(texts)
        return ids

    def count(texts: list[str]) -> list[int]:
        return [len(tokenizer.encode(text)) + 2 for text in texts]

    words = (model.text if build is CustomTextCLIP else model).token_embedding
    return Towers(model.encode_image, model.encode_text, tokenize, count, words, float(model.logit_scale.exp()))


def _fill(model: torch.nn.Module, layout: ClipLayout) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(layout):
        try:
            weights |= load_file(file)
        except (SafetensorError, OSError) as error:
            why = unread(error) or "truncated, or no safetensors file"
            raise BenchError(f"{layout.name}: {file.name} cannot be opened ({why}); fetch the folder again") from None
    for fact in _FACTS:
        weights.pop(fact, None)
    try:
        told = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()
        why = lines[min(1, len(lines) - 1)].strip()
        raise BenchError(f"{layout.name}: the weights do not fit the configuration ({why}); fetch it again") from None
    check_keys(layout.name, told.missing_keys, told.unexpected_keys)
