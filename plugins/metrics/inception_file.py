"""Where the Inception weights of FID are looked for and whether a file is them; standard library only.

FID is defined by one file. torch-fidelity trusts any file of the right name, so the check is made here, and a
file that fails it is an error: never a reason to fall back on something else, and never a reason to use a
network.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from benchbench.errors import MissingError, UsageError

#: SHA-256 of the weights; torch-fidelity and pytorch-fid publish the same bytes under different names.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE_NAME = "weights-inception-2015-12-05-6726825d.pth"
VARIABLE = "BENCH_INCEPTION_WEIGHTS"
WHAT = "Inception weights of FID"
SOURCE = (
    f"{FILE_NAME} of torch-fidelity's release v0.2.0 on GitHub; "
    f"or give fidelity:weights=FILE or set {VARIABLE}. "
    "fidelity:extractor=glyphcnn-v1 works now; its values are not comparable with published FID"
)


def hub_path() -> Path:
    """Return where torch-fidelity keeps the file, ``$TORCH_HOME/hub/checkpoints``, without torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / FILE_NAME


def weights_path(weights: str | None) -> Path:
    """Return the one file that counts: the parameter's, else the variable's, else torch-fidelity's."""
    chosen = weights or os.environ.get(VARIABLE)
    return Path(chosen).expanduser() if chosen else hub_path()


def missing_message(path: Path) -> str:
    """Return the one line that says what is missing, where it was looked for and where it comes from."""
    return f"fidelity:extractor=inception: {WHAT} not found at {path}; they are {SOURCE}"


def check_file(path: Path) -> str:
    """Return the SHA-256 of ``path`` if it is the Inception weights of FID; remembered while it is the same.

    Raises:
        MissingError: there is no such file.
        UsageError: there is one, and it is another file or cannot be read.
    """
    try:
        stat = path.stat()
        found = _sha256_of(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        raise MissingError(missing_message(path)) from None
    except OSError as error:
        raise UsageError(f"fidelity:weights={path}: cannot be read ({error.strerror}); {WHAT} are one file") from None
    return _require(found, path)


def read_checked(path: Path) -> bytes:
    """Return the bytes of the weights, hashed as read, so that nothing can change between check and use.

    Raises:
        MissingError: there is no such file.
        UsageError: there is one, and it is another file or cannot be read.
    """
    check_file(path)
    content = path.read_bytes()
    _require(hashlib.sha256(content).hexdigest(), path)
    return content


def _require(found: str, path: Path) -> str:
    if found != SHA256:
        raise UsageError(
            f"fidelity:weights={path}: not the {WHAT} (SHA-256 {found[:8]}..., expected {SHA256[:8]}...); "
            f"replace or remove it; the right file is {SOURCE}"
        )
    return found


@lru_cache(maxsize=8)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    """Return the hash of a file; ``size`` and ``modified`` show whether the file changed."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
