"""The fingerprint of the code of one stage of a plugin: the part of a step's key that sees edits.

A result is stale when a line that made it has changed, wherever that line is: in the plugin, in a helper that
it imports, or in a helper of that helper. A result is not stale because a comment was corrected. So the
fingerprint covers, in their normal form (:mod:`benchbench.keys.normal_form`):

* the module that defines the plugin class and, if the class extends another plugin's, the modules of
  its bases;
* every module of the same top-level package (of the same folder, for a loose file) and of the harness's
  training and metric code that this code imports, transitively, also inside functions;
* the files that the class declares in ``data_files`` and the versions of its ``pinned_distributions``.

What modules are called and where they lie does not count: where an import names a covered module, its content stands
in the place of its name. A helper file that is moved or renamed, with the imports that name it, costs nobody a result.

Stages are kept apart inside the class: for ``fit``, the method ``sample`` and the parameters declared with
``stage="sample"`` or ``affects_result=False`` are left out, and so is what only they import. That is why a costly
``fit`` belongs into a separate module, imported inside the method.

What it does not see: a module that is named by a computed text, compiled extensions, and other distributions,
whose versions are recorded with each result instead.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

from ..errors import UsageError
from .imports import (
    HARNESS,
    CodeSource,
    Imported,
    Module,
    Place,
    binding,
    class_definitions,
    definition_of,
    file_digest,
    imports_of,
    installed_module,
    lazy_places,
    parsed,
)
from .normal_form import called, nodes, normal_form

__all__ = ["STAGES", "CodeSource", "explain", "fingerprint", "harness_code"]

#: Which methods of a plugin class make the result of each stage. A method of no stage belongs to all.
STAGES = {
    "data": frozenset({"info", "load"}),
    "fit": frozenset({"fit", "shards"}),
    "sample": frozenset({"sample", "transform"}),
    "train": frozenset({"train", "architectures", "apply", "imagewise", "loss", "phases", "grow"}),
    "reference": frozenset({"reference"}),
    "score": frozenset({"score", "reference"}),
}
#: Methods that plan and display; no result depends on them, unless a method that makes one calls them.
_PLANNING = frozenset(
    {
        *("needs", "fetch", "check_resolution", "for_training", "table"),
        *("seconds", "training_seconds", "output_count", "upstream_count", "least_images"),
    }
)
_STAGED = frozenset().union(_PLANNING, *STAGES.values())

#: A class and the plugin classes that it extends, nearest first.
_Chain = list[tuple[Module, ast.ClassDef]]


def fingerprint(source: CodeSource, stage: str) -> str:
    """Return the hash (64 hex digits) of the code that decides the result of ``stage``.

    It is the same under every supported Python and wherever the package is installed. Files are read again
    only after they were touched, so asking a thousand times costs milliseconds.

    Args:
        source: the plugin class.
        stage: one of ``data``, ``fit``, ``sample``, ``train``, ``reference`` and ``score``.

    Raises:
        UsageError: a module is no valid Python (with file and line), or a declared data file is missing.
    """
    return _covered_by(source, stage).digest


def explain(source: CodeSource, stage: str) -> dict[str, str]:
    """Return what :func:`fingerprint` covers: the hash of each module by its dotted name below its package.

    Declared data files appear as ``data:NAME`` and pinned distributions, with their version, as
    ``pinned:NAME``. Two explanations compared tell which file changed a key. Raises as :func:`fingerprint` does.
    """
    return dict(_covered_by(source, stage).names)


def harness_code(name: str) -> str:
    """Return the hash (64 hex digits) of a harness module whose code decides results for every plugin.

    It covers what the module imports of such code too; comments and the module's own name do not count.

    Args:
        name: dotted name, such as ``"benchbench.planning.subsets"``.
    """
    known = _REMEMBERED.get(name)
    if known is None or known.is_stale():
        module = installed_module(name)
        if module is None:
            raise ValueError(f"{name}: no source file")
        known = _REMEMBERED[name] = _reach(module, [], "")
    return known.digest


@dataclass
class _Covered:
    """What one fingerprint covers.

    Attributes:
        seen: digest of every file that decides what is covered, ``""`` for one that is not there.
        names: the explanation.
        digest: the fingerprint.
    """

    seen: dict[Path, str]
    names: dict[str, str]
    digest: str

    def is_stale(self) -> bool:
        """Return whether a file has changed since."""
        return any(file_digest(path) != digest for path, digest in self.seen.items())


#: By class and stage, or by the name of a harness module.
_REMEMBERED: dict[tuple[CodeSource, str] | str, _Covered] = {}


def _covered_by(source: CodeSource, stage: str) -> _Covered:
    if stage not in STAGES:
        raise ValueError(f"{stage!r} is no stage; the stages are {', '.join(STAGES)}")
    known = _REMEMBERED.get((source, stage))
    if known and not known.is_stale():
        return known
    start = source.as_module()
    if not start.path.is_file():
        raise UsageError(f"{source.class_name}: its source file {start.path} is not there")
    chain = list(_chain(start, source.class_name))
    covered = _reach(start, chain, stage)
    more: dict[str, str] = {}
    for path, name in _data_files(chain):
        digest = file_digest(path)
        if not digest:
            raise UsageError(f"{source.class_name}: data file {name} is not there; it belongs at {path}")
        covered.seen[path] = more[f"data:{name}"] = digest
    for name in _declared(chain, "pinned_distributions"):
        more[f"pinned:{name}"] = _version(name)
    _REMEMBERED[source, stage] = _Covered(
        covered.seen, covered.names | more, _hash([covered.digest, sorted(more.items())])
    )
    return _REMEMBERED[source, stage]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _reach(start: Module, chain: _Chain, stage: str) -> _Covered:
    """Follow imports from the plugin's modules and combine the normal forms of all that they reach."""
    removed = _removed(chain, stage)
    spelled: dict[Path, _Spelling] = {}
    seen: dict[Path, str] = {}
    names: dict[str, str] = {}
    waiting = [start, *(module for module, _ in chain)]
    while waiting:
        module = waiting.pop()
        if module.path in spelled:
            continue
        spelling = spelled[module.path] = _Spelling(module, removed.get(module.path, []))
        seen |= {path: "" for path in spelling.absent} | {path: file_digest(path) for path in spelling.read}
        own = module.home == start.home
        name = ".".join(module.parts) or "__init__"
        names[name if own else module.name] = spelling.digest
        waiting += spelling.modules
    return _Covered(seen, names, _combined(start.path, spelled))


def _combined(start: Path, spelled: dict[Path, _Spelling]) -> str:
    """Return the hash of modules that import one another, whatever they are called.

    Each module's mark is its own hash first. Then it is hashed with the marks of the modules that it imports, until
    no two that differ in that way have one mark. A module without a statement counts nowhere.
    """
    marks = {path: spelling.digest for path, spelling in spelled.items() if spelling.form != _EMPTY}
    while True:
        finer = {
            path: _hash([marks[path], [[marks[target] for target in item if target in marks] for item in items]])
            for path, items in ((path, spelled[path].targets) for path in marks)
        }
        if len(set(finer.values())) == len(set(marks.values())):
            return _hash([finer.get(start, ""), sorted(finer.values())])
        marks = finer


_EMPTY = normal_form(ast.parse(""))


class _Spelling:
    """The normal form of a module in which imports of covered code show what is imported, and not from where.

    Attributes:
        form: the normal form.
        digest: its hash.
        targets: for each such import in ``form``, in order, the files that it imports.
        modules: every module that the code imports.
        absent: files that would be imported if they were there.
        read: files that decided any of it.
    """

    def __init__(self, module: Module, removed: list[ast.AST]) -> None:
        self.modules: list[Module] = []
        self.absent: set[Path] = set()
        self.read = {module.path}
        self.targets: list[list[Path]] = []
        self._texts: dict[int, list[tuple[list[str], list[Path]]]] = {}
        self._dotted: dict[str, list[Path]] = {}
        tree = parsed(module.path)
        for node in nodes(tree, removed):
            if items := imports_of(module, node):
                self._note(node, items)
        if module.path.name == "__init__.py":
            for place in lazy_places((module.home, module.parts)).values():
                self._find(place)
        self.form = normal_form(tree, removed, self._spell)
        self.digest = hashlib.sha256(self.form.encode()).hexdigest()

    def _note(self, node: ast.AST, items: list[Imported]) -> None:
        """Look for the modules of an import; one of which nothing is covered stays as it is written."""
        texts = []
        for item in items:
            paths = [path for place in item.places for path in self._find(place)]
            outside = not paths and not any(home.package == HARNESS for home, _ in item.places)
            texts.append((["written", *_written(node, item)] if outside else [item.name, item.bound], paths))
            self._dotted |= {name: path for name, place in item.dotted if (path := self._find(place))}
        if any(text[0] != "written" for text, _ in texts):
            spelled = node.args[0] if isinstance(node, ast.Call) else node
            self._texts[id(spelled)] = texts

    def _find(self, place: Place) -> list[Path]:
        home, parts = place
        packages = (home.root.joinpath(*parts[:size], "__init__.py") for size in range(len(parts) + 1))
        self.read |= {path for path in packages if file_digest(path)}  # one may say where its names lie
        for path in home.candidates(parts):
            if file_digest(path):
                self.modules.append(Module(home, parts, path))
                return [path]
            self.absent.add(path)  # a file that appears there changes what is imported
        return []

    def _spell(self, node: ast.AST) -> str | None:
        items = self._texts.get(id(node))
        if items is None and self._dotted and isinstance(node, ast.Attribute):
            path = self._dotted.get(_dotted_name(node))
            items = [(["", ""], path)] if path else None
        if items is None:
            return None
        self.targets += [paths for _, paths in items]
        return f"import{json.dumps([text for text, _ in items])}"


def _written(node: ast.AST, item: Imported) -> list[str]:
    place = f"{'.' * node.level}{node.module or ''}" if isinstance(node, ast.ImportFrom) else ""
    return [place, item.name, item.bound]


def _dotted_name(node: ast.expr) -> str:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def _chain(module: Module, class_name: str) -> Iterator[tuple[Module, ast.ClassDef]]:
    """Yield the class and the plugin classes it extends, where their source can be found."""
    waiting = [(module, class_name)]
    seen: set[tuple[Path, str]] = set()
    while waiting:
        module, class_name = waiting.pop(0)
        if (module.path, class_name) in seen:
            continue
        seen.add((module.path, class_name))
        for definition in class_definitions(module, class_name):
            yield module, definition
            for base in definition.bases:
                extended = _base(module, base)
                if extended:
                    waiting.append(extended)


def _base(module: Module, base: ast.expr) -> tuple[Module, str] | None:
    """Return where a base class is written, if that is plugin code: not an interface of the harness, not a library."""
    if isinstance(base, ast.Subscript):
        base = base.value
    if isinstance(base, ast.Name):
        if class_definitions(module, base.id):
            return module, base.id
        place = binding(module, base.id)
    elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
        place = _submodule(module, base.value.id, base.attr)
    else:
        return None
    written = definition_of(*place) if place else None
    if written is None or (written[0].home != module.home and not _is_plugin_code(written[0])):
        return None
    return written


def _submodule(module: Module, alias: str, name: str) -> tuple[Module, str] | None:
    """Return where ``alias.name`` is looked up, for an ``alias`` that an import binds to a module."""
    for node in nodes(parsed(module.path)):
        for item in imports_of(module, node):
            if item.bound == alias and not item.name and item.places:
                home, parts = max(item.places, key=lambda place: len(place[1]))
                target = home.module(parts)
                return (target, name) if target else None
    return None


def _is_plugin_code(module: Module) -> bool:
    """Return whether a module builds on the harness, so that a class in it is a plugin's."""
    if module.home.package == HARNESS:
        return True
    for node in nodes(parsed(module.path)):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == HARNESS:
            return True
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == HARNESS for alias in node.names):
            return True
    return False


def _removed(chain: _Chain, stage: str) -> dict[Path, list[ast.AST]]:
    """Return the statements of the classes that do not matter to ``stage``, by file.

    A method of another stage stays when one that matters calls it (``self.sample(...)`` inside ``fit``).
    """
    methods = [item for _, definition in chain for item in definition.body if _is_method(item)]
    kept = {item.name for item in methods if item.name not in _STAGED or item.name in STAGES[stage]}
    owners = {"self", "cls", *(definition.name for _, definition in chain)}
    waiting = list(kept)
    while waiting:
        name = waiting.pop()
        for method in methods:
            if method.name == name:
                called_too = _attributes(method, owners) - kept
                kept |= called_too
                waiting += called_too
    gone: dict[Path, list[ast.AST]] = {}
    for module, definition in chain:
        for item in definition.body:
            method_of_other = _is_method(item) and item.name in _STAGED - kept
            if method_of_other or not _enters_key(item, stage):
                gone.setdefault(module.path, []).append(item)
    return gone


def _is_method(item: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))


def _attributes(method: ast.AST, owners: set[str]) -> set[str]:
    """Return the names that a method looks up on its own object or class."""
    names = set()
    for node in ast.walk(method):
        if isinstance(node, ast.Attribute) and (
            (isinstance(node.value, ast.Name) and node.value.id in owners)
            or (isinstance(node.value, ast.Call) and called(node.value) == "super")
        ):
            names.add(node.attr)
    return names


def _enters_key(item: ast.stmt, stage: str) -> bool:
    """Return ``False`` for a statement that declares a parameter which cannot change what ``stage`` makes."""
    value = item.value if isinstance(item, (ast.AnnAssign, ast.Assign)) else None
    if not isinstance(value, ast.Call) or called(value) != "param":
        return True
    written = {word.arg: word.value.value for word in value.keywords if isinstance(word.value, ast.Constant)}
    return written.get("affects_result", True) is not False and written.get("stage") in (None, stage)


def _declared(chain: _Chain, attribute: str) -> tuple[str, ...]:
    """Return a tuple of texts that the class, or the nearest class it extends, assigns to ``attribute``."""
    return _declaration(chain, attribute)[1]


def _data_files(chain: _Chain) -> list[tuple[Path, str]]:
    module, names = _declaration(chain, "data_files")
    return [(module.path.parent / name, name) for name in names] if module else []


def _declaration(chain: _Chain, attribute: str) -> tuple[Module | None, tuple[str, ...]]:
    for module, definition in chain:
        for item in definition.body:
            targets = item.targets if isinstance(item, ast.Assign) else [getattr(item, "target", None)]
            if not any(isinstance(target, ast.Name) and target.id == attribute for target in targets):
                continue
            try:
                names = ast.literal_eval(item.value)  # type: ignore[attr-defined]
            except (ValueError, TypeError, AttributeError):
                names = None
            if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
                where = f"{module.path}:{item.lineno}: {definition.name}.{attribute}"
                raise UsageError(f'{where}: must be a tuple of texts written out, such as ("words.txt",)')
            return module, tuple(names)
    return None, ()


@cache
def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
