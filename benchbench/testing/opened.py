"""Which files a plugin opens while it is checked: a result depends on each of them, so that each enters its key.

Files that compiled code opens by itself are not seen.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..files import cache_root, data_root
from ..keys.imports import CodeSource
from ..plugins.locate import locate
from ..plugins.parameters import parameters
from .subject import Check, Subject, require

#: Where the system keeps its files.
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/var/cache")
#: What libraries keep below the user's cache folder and can make again.
_CACHES = ("matplotlib", "fontconfig")
_CODE = (".py", ".pyc", ".so", ".pyd")


def opens_only_files_that_enter_its_key(subject: Subject) -> None:
    """A file that is replaced makes results stale only if its content is part of their keys."""
    hashed = [*_hashed(subject)]
    known = {form for path in (*_installed(subject), *hashed) for form in _forms(path)}
    stray = [path for path in sorted(subject.opened) if _counts(path, subject.began) and not _below(path, known)]
    if not stray:
        return
    remedy = "make it a parameter annotated Path, or name it in external() or, where it comes with the code, data_files"
    for item in parameters(subject.cls):
        if _holds(getattr(subject.plugin, item.name), stray[0]):
            remedy = f"annotate its parameter {item.name} with Path"
    more = f" (and {len(stray) - 1} more)" if len(stray) > 1 else ""
    require(False, f"it opens {stray[0]}{more}, whose content is not part of its key; {remedy}")


def _hashed(subject: Subject) -> Iterator[Path]:
    """Yield the files and folders whose content enters the plugin's keys."""
    plugin: Any = subject.plugin
    for item in parameters(subject.cls):
        yield from item.paths(getattr(plugin, item.name))
    yield from plugin.external()
    declares = next(base for base in subject.cls.__mro__ if "data_files" in vars(base))
    module = sys.modules.get(declares.__module__)
    yield from (Path(getattr(module, "__file__", None) or "").parent / name for name in plugin.data_files)
    models = list(plugin.needs().foundations)
    if plugin.kind == "learner":
        asked = (subject.arch or "all",)
        architectures = plugin.architectures(asked, subject.info) if "arch" in plugin.axes else (None,)
        models += [name for arch in architectures for name in plugin.foundations(arch, subject.info)]
    for name in models:
        folder = locate(name).folder
        yield folder
        if folder.parent.name == "snapshots":  # of a model hub's cache, whose snapshots are links
            yield from (folder.parents[1] / name for name in ("refs", "blobs"))


def _installed(subject: Subject) -> Iterator[Path]:
    """Yield what belongs to the system, to installed distributions and to the check itself."""
    places: list[str | None] = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()]
    places += [*site.getsitepackages(), site.getusersitepackages(), *_SYSTEM, os.environ.get("MPLCONFIGDIR")]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if "." not in name and os.path.basename(file) == "__init__.py":
            places.append(os.path.dirname(file))
    yield from (Path(place) for place in places if place)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    yield from (caches / name for name in _CACHES)
    source = CodeSource.from_class(subject.cls)
    if source.package:
        yield source.root
    yield subject.folder


def _counts(path: str, began: float) -> bool:
    """Return whether a file was an input: it is there, holds no code, is no cache, and is older than the check."""
    if _below(path, _forms(cache_root())) and not _below(path, _forms(data_root())):
        return False
    if path.endswith(_CODE) or ".dist-info/" in path or ".egg-info/" in path:
        return False
    try:
        return os.path.isfile(path) and os.stat(path).st_mtime < began
    except OSError:
        return False


def _forms(path: Path) -> Iterator[str]:
    """Yield a place as it is written and without links."""
    place = os.path.abspath(path.expanduser())
    yield from (place, os.path.realpath(place))


def _below(path: str, known: Iterable[str]) -> bool:
    places = tuple(known)
    return any(
        form == place or form.startswith(place.rstrip("/") + "/") for form in _forms(Path(path)) for place in places
    )


def _holds(value: Any, path: str) -> bool:
    return isinstance(value, str) and bool(value) and _below(path, _forms(Path(value)))


CHECKS: tuple[Check, ...] = (opens_only_files_that_enter_its_key,)
