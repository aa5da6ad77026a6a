"""An index of a folder that has none, built where what can be computed again lies, once for each content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from benchbench.errors import BenchError
from benchbench.files import cache_root
from benchbench.keys.content import content_hash
from benchbench.plugins.context import Context

from . import layout
from .build import build_index


def index_of(pool: Path, clip_folder: Path, clip: Mapping[str, str], context: Context, subject: str) -> Path:
    """Return the folder of an index of ``pool``, building it unless an earlier step did.

    Args:
        pool: a folder of pictures.
        clip_folder: folder of the CLIP.
        clip: its name and identity.
        context: tells the device and where progress goes; its scratch folder stands in for a cache folder that cannot
            be written.
        subject: the start of messages.

    Raises:
        BenchError: see :func:`.build.build_index`.
    """
    content = content_hash(pool, cache_root() / "contents.json")
    name = hashlib.sha256(f"{layout.VERSION} {content} {clip['identity']}".encode()).hexdigest()[:32]
    out = cache_root() / "indexes" / name
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink(missing_ok=True)
    except OSError:
        out = context.scratch / "index"
    try:
        layout.check_files(out, layout.read_facts(out, subject), subject)
        return out
    except BenchError:
        pass

    def tell(done: int, total: int) -> None:
        context.emit({"what": "progress", "label": "indexing", "done": done, "total": total, "unit": "img"})

    build_index(
        pool,
        out,
        clip_folder,
        clip["name"],
        device=context.device,
        subject=subject,
        on_progress=tell,
        wait=True,
        replace=True,  # named by its content: only a damaged one is found here
    )
    return out
