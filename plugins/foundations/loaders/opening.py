"""Opens one network of a pretrained folder: safetensors only, complete, quietly, and with errors of one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from benchbench.errors import BenchError

if TYPE_CHECKING:
    from pathlib import Path


def open_part(load: Callable[..., Any], folder: Path, part: str, name: str, **options: Any) -> Any:
    """Call ``from_pretrained`` on one subfolder (``""``: the folder itself), from safetensors only.

    Raises:
        BenchError: weights that are truncated, or that do not fill the network.
    """
    weights = folder / part
    if all(".fp16." in item.name for item in weights.glob("*.safetensors")):
        options["variant"] = "fp16"
    with quiet(name, part):
        model, told = load(
            str(weights),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    missing = sorted(told.get("missing_keys", ()))
    if missing:
        raise BenchError(
            f"{name}: {part or '.'}/ lacks {len(missing)} weights that its config.json asks for "
            f"(first: {missing[0]}); fetch the folder again"
        )
    return model


@contextmanager
def quiet(name: str, part: str) -> Iterator[None]:
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
        raise BenchError(f"{name}: {part or '.'}/ cannot be opened ({why}); fetch the folder again") from None
    finally:
        diffusers_logging.set_verbosity(before[0])
        transformers_logging.set_verbosity(before[1])
        if bars:
            transformers_logging.enable_progress_bar()
