"""The fingerprint of the code behind one stage of a plugin: the part of a step's key that sees edits.

A result is stale when a line that made it has changed, wherever that line is: in the plugin, in a helper that
it imports, or in a helper of that helper. A result is not stale because a comment was corrected. So the
fingerprint covers, in their normal form (:mod:`benchbench.keys.normal_form`):

* the module that defines the plugin class and, if the class extends another plugin's, the modules of
  its bases;
* every module of the same top-level package (of the same folder, for a loose file) and of the harness's
  training and metric code that this code imports, transitively, also inside functions;
* the files that the class declares in ``data_files`` and the versions of its ``pinned_distributions``.

Contents count, and no names: a module that is moved or renamed, with the imports of it, gives the same fingerprint. In
an import the content of the module stands for its name, so that importing a function from elsewhere is an edit.

Stages are told apart inside the class: for ``fit``, the method ``sample`` and the parameters declared with
``stage="sample"`` are left out, and so is what only they import. That is why a costly ``fit`` belongs into a
module of its own, imported inside the method.

What it does not see: a module that is named by a computed text, compiled extensions, and other distributions,
whose versions are recorded beside each result instead.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard

from ..errors import UsageError
from .imports import (
    HARNESS,
    CodeSource,
    Module,
    binding,
    class_definitions,
    definition_of,
    file_digest,
    imported_places,
    installed_module,
    named_place,
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
    "score": frozenset({"score"}),
}
#: Methods that plan and display; no result depends on them, unless a method that makes one calls them.
_PLANNING = frozenset(
    {
        *("needs", "fetch", "check_resolution", "table"),
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
        stage: one of ``data``, ``fit``, ``sample``, ``train`` and ``score``.

    Raises:
        UsageError: a module is no valid Python (with file and line), or a declared data file is missing.
    """
    covered = explain(source, stage)
    modules = sorted({digest for name, digest in covered.items() if ":" not in name} - {_EMPTY})
    declared = sorted((name, digest) for name, digest in covered.items() if ":" in name)
    return hashlib.sha256(json.dumps([modules, declared]).encode()).hexdigest()


def harness_code(name: str) -> str:
    """Return the hash (64 hex digits) of one harness module's own content; comments and a move do not change it.

    Args:
        name: dotted name, such as ``"benchbench.planning.subsets"``.
    """
    module = installed_module(name)
    if module is None:
        raise ValueError(f"{name}: no source file")
    digest = file_digest(module.path)
    if _HARNESS.get(name, ("", ""))[0] != digest:
        _HARNESS[name] = (digest, _digest(module, [], _INTERFACE))
    return _HARNESS[name][1]


#: Per harness module: the digest of its file, and the hash of its normal form.
_HARNESS: dict[str, tuple[str, str]] = {}
#: Of a module without code, such as the ``__init__`` of a folder that a helper is moved into.
_EMPTY = hashlib.sha256(normal_form(ast.parse("")).encode()).hexdigest()
#: Stands in an import for a module that is not covered: the harness's interfaces.
_INTERFACE = "interface"


def explain(source: CodeSource, stage: str) -> dict[str, str]:
    """Return what :func:`fingerprint` covers: the hash of each module by its dotted name below its package.

    Declared data files appear as ``data:NAME`` and pinned distributions, with their version, as
    ``pinned:NAME``. Two explanations compared tell ``bench why`` which file changed a key. Raises as
    :func:`fingerprint` does.
    """
    if stage not in STAGES:
        raise ValueError(f"{stage!r} is no stage; the stages are {', '.join(STAGES)}")
    remembered = _REMEMBERED.get((source, stage))
    if remembered and all(file_digest(path) == digest for path, digest in remembered[0].items()):
        return dict(remembered[1])
    start = source.as_module()
    if not start.path.is_file():
        raise UsageError(f"{source.class_name}: its source file {start.path} is not there")
    chain = list(_chain(start, source.class_name))
    seen, covered = _reach(start, chain, stage)
    for path, name in _data_files(chain):
        digest = file_digest(path)
        if not digest:
            raise UsageError(f"{source.class_name}: data file {name} is not there; it belongs at {path}")
        seen[path], covered[f"data:{name}"] = digest, digest
    for name in _declared(chain, "pinned_distributions"):
        covered[f"pinned:{name}"] = _version(name)
    _REMEMBERED[source, stage] = (seen, covered)
    return dict(covered)


#: Per class and stage: the digest of every file that was read, and the explanation that they gave.
_REMEMBERED: dict[tuple[CodeSource, str], tuple[dict[Path, str], dict[str, str]]] = {}


def _reach(start: Module, chain: _Chain, stage: str) -> tuple[dict[Path, str], dict[str, str]]:
    """Return the digest of each file that imports reach (``""``: not there), and the hash of each module."""
    removed = _removed(chain, stage)
    seen: dict[Path, str] = {}
    covered: dict[str, str] = {}
    waiting = [start, *(module for module, _ in chain)]
    while waiting:
        module = waiting.pop()
        if seen.get(module.path):
            continue
        seen[module.path] = file_digest(module.path)
        gone = removed.get(module.path, [])
        own = module.home == start.home
        name = ".".join(module.parts) or "__init__"
        covered[name if own else module.name] = _digest(module, gone, removed)
        places = (place for node in nodes(parsed(module.path), gone) for place in imported_places(module, node))
        for home, parts in places:
            for path in home.candidates(parts):
                if file_digest(path):
                    waiting.append(Module(home, parts, path))
                    break
                seen[path] = ""  # a file that appears there changes what is imported
    return seen, covered


def _digest(module: Module, gone: list[ast.AST], removed: dict[Path, list[ast.AST]] | str) -> str:
    """Return the hash of a module's normal form, with contents in the place of the names of modules.

    Args:
        module: the module.
        gone: statements that do not count.
        removed: those of the modules that it imports, by file; or a text that stands for any module, which ends the
            recursion: the content of an imported module counts without what that one imports.
    """
    tree = parsed(module.path)
    places: dict[ast.AST, str] = {}
    for node in nodes(tree, gone):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and (reached := imported_places(module, node)):
            if isinstance(removed, str):
                places[node] = removed
                continue
            there = (home.module(parts) for home, parts in reached)
            contents = {_digest(item, removed.get(item.path, []), _INTERFACE) for item in there if item is not None}
            places[node] = "+".join(sorted(contents)) or _INTERFACE
    return hashlib.sha256(normal_form(tree, gone, places).encode()).hexdigest()


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
                found = _base(module, base)
                if found:
                    waiting.append(found)


def _base(module: Module, base: ast.expr) -> tuple[Module, str] | None:
    """Return where a base class is written, if its code counts: not the harness's author pages, not a library's."""
    if isinstance(base, ast.Subscript):
        base = base.value
    if isinstance(base, ast.Name):
        if class_definitions(module, base.id):
            return module, base.id
        found = binding(module, base.id)
    elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
        found = _submodule(module, base.value.id, base.attr)
    else:
        return None
    if found is None:
        return None
    written = definition_of(*found)
    if written is None or written[0].home == module.home or written[0].home.package == HARNESS:
        return written
    return written if _is_plugin_code(written[0]) else None


def _submodule(module: Module, alias: str, name: str) -> tuple[Module, str] | None:
    """Return where ``alias.name`` is looked up, for an ``alias`` that an import binds to a module."""
    for node in nodes(parsed(module.path)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for item in node.names:
                if (item.asname or item.name) != alias:
                    continue
                prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
                level = node.level if isinstance(node, ast.ImportFrom) else 0
                target = named_place(module, prefix + item.name, level)
                found = target[0].module(target[1]) if target else None
                return (found, name) if found else None
    return None


def _is_plugin_code(module: Module) -> bool:
    """Return whether a module builds on the harness, so that a class in it is a plugin's."""
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
            if method_of_other or _stage_of(item) not in (None, stage):
                gone.setdefault(module.path, []).append(item)
    return gone


def _is_method(item: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))


def _attributes(method: ast.AST, owners: set[str]) -> set[str]:
    """Return the names that a method looks up on its own object or class."""
    found = set()
    for node in ast.walk(method):
        if isinstance(node, ast.Attribute) and (
            (isinstance(node.value, ast.Name) and node.value.id in owners)
            or (isinstance(node.value, ast.Call) and called(node.value) == "super")
        ):
            found.add(node.attr)
    return found


def _stage_of(item: ast.stmt) -> str | None:
    """Return the stage that a statement declares a parameter for, if it does."""
    value = item.value if isinstance(item, (ast.AnnAssign, ast.Assign)) else None
    if isinstance(value, ast.Call) and called(value) == "param":
        for keyword in value.keywords:
            if keyword.arg == "stage" and isinstance(keyword.value, ast.Constant):
                return keyword.value.value  # type: ignore[return-value]
    return None


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
