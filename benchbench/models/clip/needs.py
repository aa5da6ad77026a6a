"""What a plan can know about the CLIP that a plugin names, without opening its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import UsageError
from .layout import ClipLayout, check_clip

#: The extra that brings each package which only some CLIPs need.
EXTRAS: Mapping[str, str] = {"open_clip": "openclip"}


def clip_packages(name: str, subject: str) -> tuple[str, ...]:
    """Return the packages that open a CLIP; where it is not on this machine yet, what transformers' format needs.

    Args:
        name: an embedded name, a folder or a hub id.
        subject: the plugin that asks, the start of the message.

    Raises:
        UsageError: it is on this machine and is no CLIP.
    """
    layout = local_layout(name, subject)
    return (layout.library if layout else "transformers",)


def local_layout(name: str, subject: str) -> ClipLayout | None:
    """Return the facts about a CLIP, ``None`` where it is not on this machine: the preflight fetches it, or says so.

    Args:
        name: an embedded name, a folder or a hub id.
        subject: the plugin that asks, the start of the message.

    Raises:
        UsageError: it is on this machine and is no CLIP.
    """
    from ...plugins.locate import locate

    try:
        folder = locate(name).folder
    except UsageError:
        return None
    return check_clip(folder, f"{subject}:clip={name}")


def check_text_lengths(layout: ClipLayout, texts: Sequence[str], reserved: int = 0) -> None:
    """Refuse texts that would be cut, where that can be told without a model: beside a ``tokenizer.json``.

    Args:
        layout: the CLIP.
        texts: as they are tokenized.
        reserved: further tokens that each needs.

    Raises:
        UsageError: a text is too long; the first one is named.
    """
    file = layout.folder / "tokenizer.json"
    if layout.library != "transformers" or not file.is_file():
        return
    lengths = _lengths(file, texts)
    if lengths is not None:
        refuse_long_texts(layout.name, layout.positions, texts, lengths, reserved)


def refuse_long_texts(name: str, positions: int, texts: Sequence[str], lengths: Sequence[int], reserved: int) -> None:
    """Raise ``UsageError`` for the first text whose tokens, with ``reserved`` more, are more than ``positions``."""
    for text, length in zip(texts, lengths, strict=True):
        if length + reserved > positions:
            more = f" and {reserved} of context" if reserved else ""
            remedy = "a shorter class name or a smaller n_ctx" if reserved else "a shorter class name or template"
            raise UsageError(
                f"{name}: '{text}' takes {length} tokens{more}, the model reads {positions}; give {remedy}"
            )


def _lengths(file: Path, texts: Sequence[str]) -> list[int] | None:
    """Return the tokens of each text with its two markers, ``None`` where the file says nothing about it."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # a damaged tokenizer is reported when it is opened
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(tokenizer.encode(text, add_special_tokens=False)) + 2 for text in texts]
