"""What can go wrong on the user's side, each with its exit code."""

from __future__ import annotations


class BenchError(Exception):
    """A failure with one clear line for the user: what, where, what to do. Exit code 1."""

    exit_code = 1


class UsageError(BenchError):
    """The request cannot be carried out as written. Exit code 2.

    The text starts with its subject as the user wrote it: ``diffinv:num_inference_steps=0: must be ...``.
    """

    exit_code = 2


class MissingError(UsageError):
    """A dataset, a model or a package is neither here nor reachable: says what, where it goes and its source."""


class OldFormError(UsageError, AttributeError):
    """A plugin written for an earlier version; the text is the line to change."""


class CorruptError(BenchError):
    """An artifact whose bytes differ from its checksums."""


#: Public names of version 0.1, each with what it is now.
RENAMED = {"Outcome": "TrainResult", "Needs": "Requirements", "FileNeed": "RequiredFile"}


def missing_name(module: str, name: str) -> ImportError | AttributeError:
    """Return what to raise for a name that ``module`` does not have.

    For a name of version 0.1 it is an ``ImportError`` with today's name: a ``from`` import would replace the text of an
    ``AttributeError``.
    """
    if name in RENAMED:
        return ImportError(f"{name} is called {RENAMED[name]} since version 0.2")
    return AttributeError(f"module {module!r} has no attribute {name!r}")


def printable(text: str) -> str:
    """Return one line that a terminal shows and does not obey, whatever a file is called or holds."""
    if text.isprintable():
        return text
    return "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in text)


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ``" (did you mean 'a' or 'b'?)"`` for the closest of ``known``, or ``""`` when none is close."""
    import difflib

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(repr(item) for item in close)}?)" if close else ""
