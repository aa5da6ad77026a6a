"""``bench index``: build an index of a pool of pictures, look at one, search one."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchbench.cli.say import say, say_json
from benchbench.errors import UsageError
from benchbench.files import cache_root, expanded
from benchbench.planning.estimates import duration
from benchbench.planning.spec import Spec
from benchbench.plugins.catalog import catalog
from benchbench.plugins.locate import download_foundation, locate

from .. import KNN
from . import Backend, kind_of, open_backend, unfinished

app = typer.Typer(
    add_completion=False, help="Index a pool of pictures for retrieval: build, show, search.", no_args_is_help=True
)

_Clip = Annotated[str, typer.Option("--clip", help="A CLIP: an embedded name, a folder or a hub id.")]
_Device = Annotated[str, typer.Option("--device", help="`auto`, `cpu` or `cuda`.")]
_Index = Annotated[str, typer.Argument(metavar="INDEX", help="An embedded pool or the folder of an index.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("build")
def build(
    pool: Annotated[
        Path,
        typer.Argument(metavar="POOL", help="Folder of pictures, of WebDataset tars, or of img2dataset's parquet."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the index; may be the pool's own.")],
    clip: _Clip = "glyph-clip",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures that the CLIP sees at a time.")] = 64,
    device: _Device = "auto",
    captions: Annotated[bool, typer.Option("--captions/--no-captions", help="Keep the texts of pictures.")] = True,
) -> None:
    """Embed every picture of POOL once; the same command continues a build that was stopped."""
    from .build import build_index

    began = time.monotonic()
    facts = build_index(
        expanded(pool),
        expanded(out),
        download_foundation(clip),
        clip,
        batch=batch,
        device=_device(device),
        captions=captions,
        subject=f"bench index build {pool}",
        on_progress=_Progress(),
    )
    if not facts["built"]:
        say(f"{out} is up to date")
    say(*_summary(facts))
    if facts["built"]:
        if facts["rebuilt"]:
            say(f"{out} was built before; its pictures, captions or files changed, so it was built again")
        spec = Spec("knn", {"pool": str(out), "clip": clip})
        say(f"took {time.monotonic() - began:.0f} s; use it with --gen {shlex.quote(str(spec))}")


@app.command("show")
def show(index: _Index, as_json: _Json = False) -> None:
    """Say what an index holds and which CLIP built it."""
    from .layout import check_files, read_facts

    folder = _index(index)
    kind = kind_of(folder)
    if kind == "unfinished":
        raise unfinished(index, folder)
    if kind == "clip-retrieval":
        facts = _open(index, folder).describe()
        lines = [f"pictures   {facts['size']:,}, an index of clip-retrieval", f"width      {facts['width']}"]
    else:
        facts = read_facts(folder, index)
        check_files(folder, facts, index)
        lines = _summary(facts)
    if as_json:
        say_json(facts)
    else:
        say(*lines)


@app.command("search")
def search(
    index: _Index,
    image: Annotated[Path | None, typer.Option("--image", help="Search by a picture.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="Search by a text.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many to list.")] = 10,
    clip: _Clip = "glyph-clip",
    device: _Device = "auto",
    as_json: _Json = False,
) -> None:
    """List the pictures nearest to a picture or a text."""
    from benchbench.models.clip.layout import clip_identity
    from benchbench.models.clip.model import open_clip_model

    from .pictures import embed_pictures, read_picture

    if (image is None) == (text is None):
        raise UsageError("bench index search: give either --image FILE or --text TEXT")
    folder = locate(clip)
    backend = _open(index, _index(index), {"name": clip, "identity": clip_identity(folder)})
    pixels = read_picture(expanded(image)) if image is not None else None
    if isinstance(pixels, str):
        raise UsageError(f"--image {image}: {pixels}")
    model = open_clip_model(folder, clip, device=_device(device))
    query = embed_pictures(model, [pixels], 1) if pixels is not None else model.encode_texts([str(text)])
    hits = backend.search(query, k)[0]
    if as_json:
        say_json([vars(hit) for hit in hits])
        return
    for hit in hits:
        say("  ".join([f"{hit.similarity:7.4f}", hit.key, *([hit.caption] if hit.caption else [])]))


def _index(name: str) -> Path:
    """Return the folder of an embedded pool or of an index."""
    path = expanded(name)
    if name not in catalog().names("foundation"):
        if not path.exists():
            raise UsageError(f"no such index: {name}")
        if not path.is_dir():
            raise UsageError(f"{name}: is a file; give the folder of an index")
    return locate(name)


def _open(index: str, folder: Path, clip: dict[str, str] | None = None) -> Backend:
    return open_backend(KNN(pool=index), folder, cache_root() / "downloads", clip)


def _device(asked: str) -> str:
    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {asked}: must be auto, cpu or cuda")
    if asked == "cpu":
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise UsageError("--device cuda: torch sees no GPU; use --device cpu")
    return "cpu"


def _summary(facts: dict[str, Any]) -> list[str]:
    broken = facts["broken"]
    lines = [
        f"pictures   {facts['count']:,} from a {facts['source']['kind']}, {facts['captions']:,} with captions, "
        f"{facts['duplicates']:,} byte for byte another one",
        f"clip       {facts['clip']['name']} ({facts['clip']['identity']}), width {facts['width']}",
    ]
    if broken["count"]:
        few = ", ".join(f"{key} ({reason})" for key, reason in broken["first"][:3])
        lines.append(f"left out   {broken['count']:,} that cannot be read, listed in broken.tsv: {few}")
    return lines


class _Progress:
    """A line on stderr with an estimate: rewritten on a terminal, anywhere else a new one now and then."""

    def __init__(self) -> None:
        self.began = self.said = time.monotonic()
        self.first: int | None = None
        self.live = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self.began = done, now  # what a killed build left does not count towards the speed
        if now - self.said < (0.2 if self.live else 10.0) and done < total:
            return
        self.said = now
        fresh = done - self.first
        left = f", about {duration((now - self.began) / fresh * (total - done))} left" if fresh and done < total else ""
        end = "\n" if not self.live or done == total else ""
        sys.stderr.write(f"{chr(13) if self.live else ''}embedded {done:,} of {total:,}{left}    {end}")
        sys.stderr.flush()
