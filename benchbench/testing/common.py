"""What every plugin promises: a frozen, documented dataclass of one kind, whose module is quick to import."""

from __future__ import annotations

import importlib.util
import math
import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import MissingError
from ..files import cache_root, data_root, expanded
from ..keys.imports import CodeSource
from ..planning.resolved import paths_in_key
from ..plugins import Augmentation, Dataset, Foundation, Generator, Learner, Metric, Requirements
from ..plugins.executor import Executor
from ..plugins.locate import locate
from ..plugins.parameters import PRESETS, build, format_value, parameters
from ..reporting.report import Report
from .subject import Check, NotApplicable, Subject, require

BASES = (Dataset, Generator, Augmentation, Learner, Metric, Foundation, Executor, Report)
#: Libraries that take seconds to import; a plugin imports them inside its methods.
HEAVY = ("torch", "torchvision", "diffusers", "transformers", "timm", "sklearn", "pandas", "tensorflow", "jax")
_IMPORT = """
import importlib, importlib.util, os, sys
name, path = sys.argv[1:3]
if path:
    sys.path.insert(0, os.path.dirname(path))
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
else:
    importlib.import_module(name)
print("", ",".join(item for item in sys.argv[3:] if item in sys.modules), sep="\\n")
"""
#: Where the system keeps its files.
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/var/cache")
#: What libraries keep below the user's cache folder and can make again.
_CACHES = ("matplotlib", "fontconfig")
_CODE = (".py", ".pyc", ".so", ".pyd")


def is_a_frozen_dataclass_of_one_kind(subject: Subject) -> None:
    """A plugin derives from one kind and carries ``@dataclass(frozen=True)`` itself."""
    cls = subject.cls
    bases = [base for base in BASES if issubclass(cls, base)]
    names = ", ".join(base.__name__ for base in bases) or "none of them"
    one = len(bases) == 1 and cls not in BASES
    require(one, f"{cls.__name__} must derive from exactly one kind; it derives from {names}")
    require(getattr(cls, "kind", "") == bases[0].kind, f"{cls.__name__}.kind must stay {bases[0].kind!r}")
    own = vars(cls).get("__dataclass_params__")
    require(own is not None and own.frozen, f"{cls.__name__} must be decorated with @dataclass(frozen=True)")


def has_a_docstring(subject: Subject) -> None:
    """Its first line is what ``bench list`` shows."""
    text = vars(subject.cls).get("__doc__") or ""
    made_up = text.startswith(f"{subject.cls.__name__}(")  # what dataclass() writes where there is none
    require(
        bool(text.strip()) and not made_up,
        f"{subject.cls.__name__} has no docstring; its first line is shown by bench list",
    )


def declares_every_field_with_param_and_help(subject: Subject) -> None:
    """A field is an option of the command line, so that each has a type, a default and a sentence."""
    try:
        declared = parameters(subject.cls)
    except TypeError as error:
        raise AssertionError(str(error)) from None
    for item in declared:
        require(bool(item.help and item.help.strip()), f"{subject.cls.__name__}.{item.name} has an empty help")


def defaults_are_valid_under_every_preset(subject: Subject) -> None:
    """Each default keeps its own bounds, can be spelled on the command line, and makes a plugin."""
    for preset in PRESETS:
        for item in parameters(subject.cls):
            value = item.preset(preset)
            shown = f"{item.name}={format_value(value)} ({preset})"
            try:
                require(item.check(value) == value, f"{shown}: the default has another type than its field")
                spelled = item.parse(format_value(value))
            except ValueError as error:
                raise AssertionError(f"{shown}: {error}") from None
            require(spelled == value, f"{shown}: reads back as {spelled!r}")
        made = build(subject.cls, {}, subject=subject.name, preset=preset)
        require(
            made == build(subject.cls, {}, subject=subject.name, preset=preset), "two equal plugins must compare equal"
        )


def imports_nothing_heavy_with_its_module(subject: Subject) -> None:
    """Listing and planning import plugin modules, so that torch and its like belong inside methods."""
    cls = subject.cls
    if "<locals>" in cls.__qualname__:
        raise NotApplicable  # defined inside a function: its module cannot be imported apart
    source = CodeSource.from_class(cls)
    module, path = (cls.__module__, "") if source.package else (source.path.stem, str(source.path.resolve()))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-P", "-c", _IMPORT, module, path, *HEAVY]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    require(done.returncode == 0, f"importing {module} in a fresh Python fails: {last}")
    imported = done.stdout.splitlines()[-1]  # what the module prints itself comes before
    require(
        not imported,
        f"importing {module} imports {imported.replace(',', ', ')}; import it inside the methods that use it",
    )


def says_what_it_needs(subject: Subject) -> None:
    """``needs``, ``input_paths`` and ``seconds`` answer in their declared types."""
    plugin: Any = subject.plugin
    needs = plugin.needs()
    require(isinstance(needs, Requirements), f"needs() must return Requirements; got {type(needs).__name__}")
    paths = plugin.input_paths()
    require(isinstance(paths, tuple), f"input_paths() must return a tuple of paths; got {type(paths).__name__}")
    require(all(isinstance(path, Path) for path in paths), "input_paths() must return pathlib.Path objects")
    for stage in ("fit", "sample", "train", "score", "load"):
        estimate = plugin.seconds(stage, 10, subject.info)
        valid = estimate is None or (isinstance(estimate, (int, float)) and math.isfinite(estimate) and estimate >= 0)
        require(valid, f"seconds({stage!r}, 10, info) must be None or a finite number from 0; got {estimate!r}")
    if plugin.kind not in ("dataset", "foundation"):
        require(
            plugin.resolve(subject.info) == plugin, "resolve(info) must not change a plugin that is resolved already"
        )
    missing = [*(f"package {name}" for name in needs.packages if importlib.util.find_spec(name.split(".")[0]) is None)]
    missing += [f"{need.what} at {need.path} (from {need.source})" for need in needs.files if not need.path.exists()]
    if missing:
        raise MissingError(f"missing here: {'; '.join(missing)}")
    for name in needs.foundations:
        locate(name)


def opens_only_files_that_enter_its_key(subject: Subject) -> None:
    """A file that is replaced makes results stale only if its content is part of their keys."""
    hashed = [*_hashed(subject)]
    known = {form for path in (*_installed(subject), *hashed) for form in _forms(path)}
    stray = [path for path in sorted(subject.opened) if _counts(path, subject.began) and not _below(path, known)]
    if not stray:
        return
    remedy = (
        "make it a parameter annotated Path, or name it in input_paths() or, where it comes with the code, data_files"
    )
    for item in parameters(subject.cls):
        value = getattr(subject.plugin, item.name)
        if isinstance(value, str) and value and _below(stray[0], _forms(Path(value))):
            remedy = f"annotate its parameter {item.name} with Path"
    more = f" (and {len(stray) - 1} more)" if len(stray) > 1 else ""
    raise AssertionError(f"it opens {stray[0]}{more}, whose content is not part of its key; {remedy}")


def _hashed(subject: Subject) -> Iterator[Path]:
    """Yield the files and folders whose content enters the plugin's keys."""
    plugin: Any = subject.plugin
    models = list(plugin.needs().foundations)
    if plugin.kind == "learner":
        asked = (subject.arch or "all",)
        architectures = plugin.architectures(asked, subject.info) if "arch" in plugin.axes else (None,)
        models += [name for arch in architectures for name in plugin.foundations(arch, subject.info)]
    for folder in paths_in_key(plugin, models):
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
    caches = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
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


def _forms(path: Path) -> Iterator[Path]:
    """Yield a place as it is written and without links."""
    place = os.path.abspath(expanded(path))
    yield from (Path(place), Path(os.path.realpath(place)))


def _below(path: str, known: Iterable[Path]) -> bool:
    places = set(known)
    return any(not places.isdisjoint((form, *form.parents)) for form in _forms(Path(path)))


#: Where one of these is broken or cannot be judged, nothing that follows could be.
ESSENTIAL: tuple[Check, ...] = (
    is_a_frozen_dataclass_of_one_kind,
    declares_every_field_with_param_and_help,
    defaults_are_valid_under_every_preset,
    says_what_it_needs,
)
