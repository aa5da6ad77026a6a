"""Pretrained models by one door: an embedded name, a local folder or a hub id gives a folder with known content."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

from ..errors import MissingError, UsageError, nearest
from ..files import expanded
from .catalog import catalog, load

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: What a diffusers, transformers or open_clip repository needs at run time: no pickles, no duplicate formats.
_HUB_FILES = ("*.json", "*.txt", "*.safetensors", "*.model")
_HUB_SKIP = ("*.fp16.safetensors", "*.non_ema.safetensors", "*flax*", "*onnx*", "safety_checker/*", "v1-4*", "*pruned*")
_HUB_TIMEOUT_S = 6.0
_ANSWER_TIMEOUT_S = 3.0


@cache
def locate(name: str) -> Path:
    """Return the folder of a foundation on this machine, without using a network.

    A checkpoint that is a single file, as some are published, is its own folder.

    Raises:
        MissingError: it is not here; says what was looked for, where to put it and where it comes from.
        UsageError: neither a known name, nor a folder, nor a hub id.
    """
    known = catalog()
    if name in known.names("foundation"):
        folder = load(known.get("foundation", name))().folder()
        if not folder.is_dir():
            raise MissingError(
                f"{name}: its files are not in this installation ({folder.name}/ is missing); reinstall it"
            )
        return folder
    path = expanded(name)
    if path.is_dir() or path.is_file():
        return path.resolve()
    if name.startswith((".", "/", "~")) or path.exists():
        raise UsageError(f"{name}: no such file or folder; give a model's folder, in the format of its kind")
    if _HUB_ID.fullmatch(name):
        cached = _hub_snapshot(name)
        if cached is not None:
            return cached
        raise MissingError(_hub_message(name, "it is not in the local hub cache"))
    names = known.names("foundation")
    hint = nearest(name, names) or f" (embedded: {', '.join(names)})"
    raise UsageError(f"{name}: neither an embedded model, nor a folder, nor a hub id{hint}")


def download_foundation(name: str) -> Path:
    """Return the folder of a foundation, downloading a hub id that is not here yet; the preflight's call.

    Raises:
        MissingError: neither here nor reachable, said within 10 seconds.
    """
    try:
        return locate(name)
    except MissingError:
        if not _HUB_ID.fullmatch(name) or name in catalog().names("foundation"):
            raise
    problem = _unreachable(name)
    if problem:
        raise MissingError(
            _hub_message(name, f"it is not in the local hub cache and the hub cannot be reached ({problem})")
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        snapshot_download(
            name, allow_patterns=list(_HUB_FILES), ignore_patterns=list(_HUB_SKIP), etag_timeout=_ANSWER_TIMEOUT_S
        )
    except HfHubHTTPError as error:
        raise MissingError(_hub_message(name, f"the hub refuses it ({str(error).splitlines()[0]})")) from None
    except OSError as error:
        raise MissingError(_hub_message(name, f"the download failed ({error})")) from None
    locate.cache_clear()
    return locate(name)


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    return expanded(os.environ.get("HF_HUB_CACHE") or home / "hub")


def _hub_snapshot(name: str) -> Path | None:
    """Return the snapshot of a hub id's main branch in the local cache; reads the layout, imports no hub client."""
    root = _hub_cache() / f"models--{name.replace('/', '--')}"
    reference = root / "refs" / "main"
    if not reference.is_file():
        return None
    snapshot = root / "snapshots" / reference.read_text("utf-8").strip()
    return snapshot.resolve() if snapshot.is_dir() else None


def _unreachable(name: str) -> str | None:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "HF_HUB_OFFLINE is set"
    import ssl
    import threading
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    address = f"{(os.environ.get('HF_ENDPOINT') or 'https://huggingface.co').rstrip('/')}/api/models/{name}"
    outcome: list[str] = []

    def knock() -> None:
        try:
            urlopen(address, timeout=_HUB_TIMEOUT_S).close()
            outcome.append("")
        except HTTPError:
            outcome.append("")  # it answers; what it refuses, the hub client can say better
        except Exception as error:
            why = error.reason if isinstance(error, URLError) else error
            trusted_elsewhere = isinstance(why, ssl.SSLError)  # the hub client may know the certificate
            outcome.append("" if trusted_elsewhere else getattr(why, "strerror", None) or str(why))

    # A name lookup takes no timeout, so the wait is bounded from outside.
    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(_HUB_TIMEOUT_S)
    return (outcome[0] if outcome else "no answer") or None


def _hub_message(name: str, why: str) -> str:
    return (
        f"{name}: {why}; looked in {_hub_cache()}; download it on a connected machine "
        f"(`hf download {name}`) and copy that folder, or give a local folder instead: /path/to/{name.split('/')[1]}"
    )
