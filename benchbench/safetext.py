r"""Text that others wrote (names, errors, notes, captions), as each medium shows it: it is read and never acts.

A character that no page shows and that a program obeys is written as Python writes it: ``\x1b`` for an escape, ``\n``
for a new line, ``\u202e`` for one that turns the direction of reading, ``\udcff`` for a byte that is not UTF-8.
"""

from __future__ import annotations

import re
from typing import TextIO

#: C0 but the tab, DEL, C1, the ends of lines and paragraphs, what sets the direction of reading, lone surrogates.
_OBEYED = "\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_ON_A_LINE = re.compile(f"[{_OBEYED}]")
#: What a spreadsheet computes, also where it is written as wide as a Chinese character.
_COMPUTED = re.compile(r"[=+@\t\r\n＝＋＠－]|-(?=.)(?!\d+(\.\d+)?(e[+-]?\d+)?$)", re.IGNORECASE | re.DOTALL)
#: What Markdown, as GitHub and others extend it, acts on within a line. ``[1]`` is a mark of ours and no link, since
#: nothing defines one, nor is an interval, ``[-0.5, 2.0]``; an underscore inside a word stays.
_MARKED = re.compile(
    r"[\\`*~|$]|&(?=#?\w+;)|\[(?!(\d+|-?\d+\.\d, -?\d+\.\d)\](?![(\[:]))|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])"
    r"|:(?=//)|(?<=www)\.|#$",
    re.IGNORECASE,
)
#: What may begin a block.
_BEGINNING = tuple("#>+-=0123456789")


def on_a_line(text: str) -> str:
    """Return a text without what a terminal obeys; it stays on one line."""
    return _ON_A_LINE.sub(_spelled, text)


def in_csv(text: str) -> str:
    """Return a text as a cell of a CSV file: on one line, and no spreadsheet takes it for a formula.

    One that begins like a formula gets an apostrophe before it. Numbers and a lone ``-`` stay.
    """
    return "'" * bool(_COMPUTED.match(text)) + on_a_line(text)


def in_markdown(text: str) -> str:
    """Return a text for a heading, an item or a cell of a table in Markdown: it shows as it is, on one line."""
    return _MARKED.sub(r"\\\g<0>", on_a_line(" ".join(text.split()))).replace("<", "&lt;")


def item_in_markdown(text: str) -> str:
    """Return a text as an item of a list in Markdown: it begins no heading, quotation or list inside of the item."""
    item = in_markdown(text)
    return f"- &#{ord(item[0])};{item[1:]}" if item[:1] in _BEGINNING else f"- {item}"


def encodable(text: str, stream: TextIO) -> str:
    """Return a text as a stream can take it: a sign that its encoding lacks is spelled out."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _spelled(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
