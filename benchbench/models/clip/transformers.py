"""The towers of a transformers ``CLIPModel``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...errors import BenchError
from ..opening import check_safetensors, reason
from .layout import ClipLayout, weight_files
from .towers import Towers

# Old checkpoints hold these buffers, which are nothing but 0, 1, 2, ...
_HARMLESS = "position_ids"


def open_towers(layout: ClipLayout, device: str) -> Towers:
    """Return the towers with their weights, on ``device``.

    Raises:
        BenchError: a file that cannot be read, or weights that do not fit the configuration.
    """
    from transformers import AutoTokenizer, CLIPModel

    with _one_line(layout.name, "weights", weight_files(layout)):
        model, told = CLIPModel.from_pretrained(
            str(layout.folder), use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    check_keys(layout.name, told.get("missing_keys", ()), told.get("unexpected_keys", ()))
    with _one_line(layout.name, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(layout.folder), local_files_only=True)
    known = model.text_model.embeddings.token_embedding.num_embeddings
    if len(tokenizer) > known:
        raise BenchError(
            f"{layout.name}: the tokenizer has {len(tokenizer)} tokens, the model knows {known}; "
            "they belong to different models"
        )
    model = model.float().to(device).eval().requires_grad_(False)

    def tokenize(texts: list[str]) -> torch.Tensor:
        # Padding lies behind the end marker, where causal attention does not look; so no mask is needed.
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


@contextmanager
def _one_line(name: str, part: str, files: Sequence[Path] = ()) -> Iterator[None]:
    """Turn what a library raises while it opens a part into one line, and silence its chatter."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # from_pretrained raises whatever its readers raise
        check_safetensors(files, f"{name}: ")
        raise BenchError(f"{name}: the {part} cannot be opened ({reason(error)}); fetch the folder again") from None
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
