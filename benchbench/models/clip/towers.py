"""The towers of a CLIP, the same whichever library opens them: a transformers CLIPModel, or open_clip's format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import BenchError, MissingError
from ..opening import quiet, unread
from .layout import ClipLayout, weight_files

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Towers:
    """What turns images and texts into embeddings; no weight takes a gradient, gradients of inputs pass.

    Attributes:
        image: pixels ``(N, 3, S, S)`` to embeddings ``(N, width)``, not normalised.
        text: token ids ``(N, positions)`` to embeddings ``(N, width)``, not normalised.
        tokenize: texts to token ids, int64 ``(N, positions)``; a text that is too long is cut before its end marker.
        count: texts to their numbers of tokens with the two markers, uncut.
        token_embedding: the first layer of the text tower, ids to rows; positions are added after it.
        logit_scale: what cosines are multiplied by before a softmax.
    """

    image: Encode
    text: Encode
    tokenize: Callable[[list[str]], torch.Tensor]
    count: Callable[[list[str]], list[int]]
    token_embedding: torch.nn.Module
    logit_scale: float


@contextmanager
def replaced_output(module: torch.nn.Module, output: torch.Tensor) -> Iterator[None]:
    """Make ``module`` return ``output`` whatever it is given, so that a gradient reaches what ``output`` is made of."""
    handle = module.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()


# Old checkpoints hold these buffers, which are nothing but 0, 1, 2, ...
_HARMLESS = "position_ids"


def open_transformers(layout: ClipLayout, device: str) -> Towers:
    """Return the towers of a transformers ``CLIPModel`` with their weights, on ``device``.

    Raises:
        BenchError: a file that cannot be read, or weights that do not fit the configuration.
    """
    from transformers import AutoTokenizer, CLIPModel

    with quiet(layout.name, "the weights", weight_files(layout)):
        model, report = CLIPModel.from_pretrained(
            str(layout.folder), use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    check_keys(layout.name, report.get("missing_keys", ()), report.get("unexpected_keys", ()))
    with quiet(layout.name, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(layout.folder), local_files_only=True)
    known = model.text_model.embeddings.token_embedding.num_embeddings
    if len(tokenizer) > known:
        raise BenchError(
            f"{layout.name}: the tokenizer has {len(tokenizer)} tokens, the model knows {known}; "
            "they belong to different models"
        )
    model = model.float().to(device).eval().requires_grad_(False)

    def tokenize(texts: list[str]) -> torch.Tensor:
        # Padding follows the end marker, where causal attention does not look; so no mask is needed.
        found = tokenizer(
            texts, padding="max_length", max_length=layout.positions, truncation=True, return_tensors="pt"
        )
        ids: torch.Tensor = found["input_ids"]
        return ids

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]

    # The towers and projections by themselves: what `get_image_features` returns differs between releases.
    def image_tower(pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        return found

    def text_tower(ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.text_projection(model.text_model(input_ids=ids).pooler_output)
        return found

    words = model.text_model.embeddings.token_embedding
    return Towers(image_tower, text_tower, tokenize, count, words, float(model.logit_scale.exp()))


def check_keys(name: str, missing: Any, unexpected: Any) -> None:
    """Compare what a file holds with what a network has.

    Raises:
        BenchError: they differ; names the first weight.
    """
    lacking = sorted(missing)
    surplus = sorted(key for key in unexpected if not key.endswith(_HARMLESS))
    if lacking or surplus:
        parts = [f"lack {len(lacking)} that the configuration asks for (first: {lacking[0]})"] if lacking else []
        parts += [f"hold {len(surplus)} that it has no place for (first: {surplus[0]})"] if surplus else []
        raise BenchError(f"{name}: the weights {' and '.join(parts)}; fetch the folder again")


# What OpenAI's own files hold besides weights.
_FACTS = ("input_resolution", "context_length", "vocab_size")


def open_open_clip(layout: ClipLayout, device: str) -> Towers:
    """Return the towers of a CLIP in open_clip's format, such as OpenAI's ResNets, with their weights, on ``device``.

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
        report = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()
        why = lines[min(1, len(lines) - 1)].strip()
        raise BenchError(f"{layout.name}: the weights do not fit the configuration ({why}); fetch it again") from None
    check_keys(layout.name, report.missing_keys, report.unexpected_keys)
