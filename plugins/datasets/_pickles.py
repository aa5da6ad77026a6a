"""Python pickles of plain data and NumPy arrays, read without running what else a pickle may ask for.

A pickle names functions and calls them; whoever opens one with ``pickle`` runs the code of its author. Here only the
names that an array of numbers is built from can be found, and anything else ends the reading.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

from benchbench.errors import UsageError

#: What arrays, and byte strings in pickles for Python 2, are built from; none of it runs code or opens a file.
ALLOWED = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }
)
#: Bytes of the largest file that is read; the published ones have at most 155 MB.
LARGEST = 2**30


class _ForeignError(Exception):
    """The pickle asks for something else than numbers and text."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _ForeignError(f"{module}.{name}")
        return super().find_class(module, name)


def plain(path: Path, subject: str) -> tuple[bytes, Any]:
    """Return a pickle's bytes and what it holds: numbers, texts (bytes as Latin-1), lists, dictionaries and arrays.

    Hand on the bytes and not the file: it may have changed since.

    Args:
        path: the file.
        subject: the start of every message.

    Raises:
        UsageError: the pickle names anything but what arrays are made of (the name is in the message), or is damaged.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{subject}: {path}: larger than {LARGEST:,} bytes; fetch it again")
        content = path.read_bytes()
        return content, _Plain(io.BytesIO(content), encoding="latin1").load()
    except UsageError:
        raise
    except _ForeignError as error:
        raise UsageError(
            f"{subject}: {path}: refused: this pickle asks for {error}, which no array needs and which may run "
            "foreign code; remove it and fetch the published file"
        ) from None
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{subject}: {path}: damaged ({reason}); remove it and fetch it again") from None
