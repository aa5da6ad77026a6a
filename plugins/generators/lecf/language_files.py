"""What a folder must hold to be opened as a sequence-to-sequence language model, checked without importing torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchbench.errors import UsageError

#: Any of these makes a tokenizer; the last two need the package sentencepiece.
TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
#: Architectures whose configuration may leave out ``is_encoder_decoder``, which is their default.
_SEQUENCE_TO_SEQUENCE = frozenset({"bart", "fsmt", "longt5", "marian", "mbart", "mt5", "pegasus", "t5", "umt5"})
_WORD = re.compile(r"\w+|[^\w\s]+")


def check_language_folder(folder: Path, name: str) -> None:
    """Check configuration, tokenizer and weights of a language model's folder by their names and JSON.

    Args:
        folder: where the model lies.
        name: how the user named it, the start of messages.

    Raises:
        UsageError: not a sequence-to-sequence model in the transformers format, no tokenizer, or no safetensors.
    """
    config = _read(folder / "config.json", name)
    kind = str(config.get("model_type", "unknown"))
    if not config.get("is_encoder_decoder", kind in _SEQUENCE_TO_SEQUENCE):
        raise UsageError(
            f"{name}: no sequence-to-sequence language model (config.json says model_type {kind}); "
            "give a T5 or the like, which takes a concept and writes a sentence"
        )
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise UsageError(f"{name}: has no tokenizer ({', '.join(TOKENIZERS)}); fetch the folder again")
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")):
            raise UsageError(
                f"{name}: has only pickled weights (*.bin), which can run code and are not opened; save it again "
                "with transformers' save_pretrained, which writes model.safetensors"
            )
        raise UsageError(f"{name}: has no weights (model.safetensors); fetch the folder again")


def check_concepts(folder: Path, name: str, concepts: Iterable[str]) -> None:
    """Refuse concepts with a word that the tokenizer has no token for; only a word-level one can lack any.

    Args:
        folder: where the model lies.
        name: how the user named it, the start of messages.
        concepts: what sentences are wanted about.

    Raises:
        UsageError: a word is not known, or ``tokenizer.json`` is there and is not JSON.
    """
    path = folder / "tokenizer.json"
    model = _read(path, name).get("model") or {} if path.is_file() else {}
    if model.get("type") != "WordLevel":
        return
    known = model.get("vocab", {})
    for concept in concepts:
        unknown = [word for word in _WORD.findall(concept.lower()) if word not in known]
        if unknown:
            raise UsageError(
                f"{name}: does not know {', '.join(map(repr, unknown))} of '{concept}'; take another language model, "
                "such as mrm8488/t5-base-finetuned-common_gen, or none for plain class names"
            )


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{name}: no language model in the transformers format ({path.name} is missing); "
            "give a folder with config.json, a tokenizer and model.safetensors"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {path.name} cannot be read ({error}); fetch the folder again") from None
    if not isinstance(found, dict):
        raise UsageError(f"{name}: {path.name} does not hold a JSON object; fetch the folder again")
    return found
