"""What was found out once about a dataset's files and need not be found out again.

One small JSON file for each answer, below :func:`benchbench.files.cache_root`, written in one step. A cache that
cannot be read or written costs time only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchbench.errors import BenchError, UsageError
from benchbench.files import cache_root
from benchbench.keys.content import is_settled, signature
from benchbench.results.folder import write_atomic

log = logging.getLogger("benchbench.datasets")


def recalled(topic: str, question: list[Any], answer: Callable[[], Any]) -> Any:
    """Return the answer to a question, from memory if it was asked before.

    Args:
        topic: folder below the cache that holds answers of this sort.
        question: JSON values that decide the answer completely.
        answer: finds it; a JSON value. What it raises is passed on and not remembered.
    """
    file = _file(topic, question)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(file.read_bytes())
        if known["question"] == json.loads(json.dumps(question)):
            return known["answer"]
    found = answer()
    _write(file, question, found)
    return found


def digest_of(path: Path, algorithm: str, subject: str) -> str:
    """Return the digest of a file's bytes in hex, remembered for as long as its size, times and inode stay.

    A file that was changed within the last two seconds is hashed and not remembered, as on a coarse clock the
    same signature may then stand for other bytes.

    Args:
        path: a file.
        algorithm: ``"md5"`` or ``"sha256"``: whichever the publisher gives.
        subject: the start of every message.

    Raises:
        UsageError: the file cannot be read.
    """
    import time

    try:
        begun = time.time_ns()
        mark = signature(path.stat())
        question = [str(path.absolute()), list(mark), algorithm]
        if is_settled(mark, begun):
            return str(recalled("digests", question, lambda: _hash(path, algorithm)))
        return _hash(path, algorithm)
    except OSError as error:
        raise UsageError(f"{subject}: {path}: cannot be read: {error.strerror or error}") from None


def _hash(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _file(topic: str, question: list[Any]) -> Path:
    name = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:32]
    return cache_root() / topic / name[:2] / f"{name}.json"


def _write(file: Path, question: list[Any], answer: Any) -> None:
    try:
        write_atomic(file, json.dumps({"question": question, "answer": answer}))
    except (BenchError, OSError) as error:
        log.debug("not remembered: %s", error)
