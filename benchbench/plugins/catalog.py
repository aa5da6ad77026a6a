"""The catalog: every plugin by kind and name, found without importing one.

Plugins come from entry points (``benchbench.generators``, ...) of installed distributions, our own included, or from a
plain file named on the command line. A broken plugin stays listed with its reason and breaks nothing else.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from ..errors import UsageError, nearest
from ..files import expanded
from .base import Plugin
from .parameters import parameters

KINDS = ("dataset", "generator", "augmentation", "learner", "metric", "foundation", "executor", "report")


@dataclass(frozen=True)
class Entry:
    """One plugin as listed.

    Attributes:
        kind: one of ``KINDS``.
        name: as the command line spells it.
        target: ``"module:Class"``; for a file, the class name alone once it is known.
        distribution: the installed distribution, ``""`` for a file.
        version: its version.
        problem: why it cannot be used, ``None`` when nothing is known against it.
        file: the plain file that defines it, ``None`` for an installed plugin.
    """

    kind: str
    name: str
    target: str
    distribution: str = ""
    version: str = ""
    problem: str | None = None
    file: Path | None = None


class Catalog:
    """Every known plugin. Make it with :func:`catalog`."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries = {(entry.kind, entry.name): entry for entry in entries}

    def entries(self, kind: str | None = None) -> list[Entry]:
        """Return the entries of a kind (or of all), in the order of kinds and names."""
        kept = [entry for entry in self._entries.values() if kind in (None, entry.kind)]
        return sorted(kept, key=lambda entry: (KINDS.index(entry.kind), entry.name))

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of a kind."""
        return tuple(entry.name for entry in self.entries(kind))

    def get(self, kind: str, name: str) -> Entry:
        """Return the entry of a name, or of the one class of this kind in a file.

        Raises:
            UsageError: an unknown name (with the nearest ones), or a file without exactly one such class.
        """
        if is_file_name(name):
            return _file_entry(kind, name)
        entry = self._entries.get((kind, name))
        if entry is None:
            known = self.names(kind)
            others = [other for other in KINDS if (other, name) in self._entries]
            hint = f" (it is a {others[0]})" if others else nearest(name, known)
            listed = f"; there are {', '.join(known)}" if known and not hint else ""
            raise UsageError(f"{name}: unknown {kind}{hint or listed}; `bench list {kind}` shows all")
        return entry


def is_file_name(name: str) -> bool:
    """Return whether a plugin's name means a Python file and not a registered name."""
    return name.endswith(".py") or "/" in name


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """Return the catalog of this Python environment; reads metadata only, imports no plugin."""
    entries: dict[tuple[str, str], Entry] = {}
    for distribution in importlib.metadata.distributions():
        for point in distribution.entry_points:
            kind = point.group.removeprefix("benchbench.").removesuffix("s")
            if not point.group.startswith("benchbench.") or kind not in KINDS:
                continue
            name, version = distribution.metadata["Name"], distribution.version
            entry = Entry(kind, point.name, point.value, name, version)
            other = entries.get((kind, point.name))
            if other is not None and other.target != entry.target:
                both = f"{other.distribution} and {entry.distribution}"
                entry = Entry(kind, point.name, other.target, both, "", f"two distributions register it: {both}")
            entries[kind, point.name] = entry
    return Catalog(list(entries.values()))


def load(entry: Entry) -> type:
    """Import a plugin's class.

    Raises:
        UsageError: the plugin is broken; the message names it, its file and line, and the reason.
    """
    if entry.problem:
        raise UsageError(f"{entry.name}: broken {entry.kind}: {entry.problem}")
    try:
        if entry.file is not None:
            cls: object = getattr(file_module(entry.file), entry.target)
        else:
            module, _, attribute = entry.target.partition(":")
            cls = getattr(importlib.import_module(module), attribute)
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        where = entry.distribution or str(entry.file)
        raise UsageError(f"{entry.name}: broken {entry.kind} of {where}: {reason(error)}") from error
    if not (isinstance(cls, type) and issubclass(cls, Plugin) and cls.kind == entry.kind):
        base = f"benchbench.{entry.kind.title()}"
        raise UsageError(f"{entry.name}: {entry.target} is not {_article(entry.kind)} (a subclass of {base})")
    try:
        parameters(cls)
    except (TypeError, NameError) as error:
        raise UsageError(f"{entry.name}: broken {entry.kind}: {error}") from error
    return cls


def reason(error: BaseException) -> str:
    """Return an exception as one line with the file and line of the code that raised it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '?').name}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<") and "importlib" not in frame.filename]
    own = [frame for frame in own if frame.filename != __file__]
    text = " ".join(str(error).split()) or "no message"
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {text}{place}"


def file_module(path: Path) -> ModuleType:
    """Import a plain Python file under a unique name; its folder is importable for its helpers."""
    path = path.resolve()
    # Files of one name in two folders are two modules.
    name = f"bench_file_{path.stem}_{hashlib.sha256(os.fsencode(path.parent)).hexdigest()[:8]}"
    _make_importable(path.parent)
    _refuse_twins(path)
    loaded = sys.modules.get(name)
    stamp = (str(path), path.stat().st_mtime_ns, path.stat().st_size)
    if loaded is not None and getattr(loaded, "__bench_stamp__", None) == stamp:
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while the class is made
    keep = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # bytecode knows whole seconds only: an edit within one would go unseen
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.dont_write_bytecode = keep
    module.__dict__["__bench_stamp__"] = stamp
    return module


#: Folders that plugins were loaded from, with the time and size of every module file in them then.
_FOLDERS: dict[str, dict[str, tuple[int, int]]] = {}


def _make_importable(folder: Path) -> None:
    """Let a plugin import the files next to it as they are now.

    What was imported under the same name next to another plugin, or was edited since (in a notebook), is forgotten.
    They come behind what is installed: a file called like a library must not be run by all that imports the library.
    """
    home = str(folder)
    folders = [home, *(item for item in sys.path if item in _FOLDERS and item != home)]
    sys.path[:] = [*(item for item in sys.path if item not in folders), *folders]
    present = {item.stem: (item.stat().st_mtime_ns, item.stat().st_size) for item in folder.glob("*.py")}
    edited = _FOLDERS.get(home, present) != present
    _FOLDERS[home] = present
    if edited:
        importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if "." in name or name == "__main__":
            continue
        place = os.path.dirname(getattr(module, "__file__", None) or "")
        if (place == home and edited) or (place != home and place in _FOLDERS and name in present):
            del sys.modules[name]


def _refuse_twins(path: Path) -> None:
    """Refuse a plugin that imports a name which a file next to it has, and an installed module too.

    Raises:
        ImportError: as said; the plugin would get the installed one.
    """
    from importlib.machinery import PathFinder

    home = str(path.parent)
    installed = [item for item in sys.path if os.path.abspath(item or ".") not in {home, *_FOLDERS}]
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (SyntaxError, ValueError):
        return  # said where it is imported
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    for name in sorted({name.partition(".")[0] for name in names} & {item.stem for item in path.parent.glob("*.py")}):
        if name in sys.stdlib_module_names or PathFinder.find_spec(name, installed) is not None:
            raise ImportError(f"{name} is {name}.py next to it and an installed module too; rename the file")


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _file_entry(kind: str, name: str) -> Entry:
    path = expanded(name)
    article = _article(kind)
    if path.is_dir():
        hint = f"; give it to a dataset that takes a path, as NAME:path={name}" if kind == "dataset" else ""
        raise UsageError(f"{name}: a folder is no plugin file{hint or f'; {article} is a registered name or a file'}")
    if not path.is_file():
        raise UsageError(f"{name}: no such file; {article} is a registered name or a Python file")
    try:
        module = file_module(path)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name}: cannot be imported: {reason(error)}") from error
    classes = [
        item
        for item in vars(module).values()
        if isinstance(item, type)
        and issubclass(item, Plugin)
        and item.__module__ == module.__name__
        and item.kind == kind
    ]
    if len(classes) != 1:
        listed = ", ".join(item.__name__ for item in classes) or "none"
        raise UsageError(f"{name}: must define exactly one {kind}; it defines {listed}")
    return Entry(kind, name, classes[0].__name__, file=path.resolve())
