"""Where Python code lies on disk, found without importing it.

``bench plan`` fingerprints every step, and importing a plugin's helpers would import torch. So a dotted name
is turned into a file here by walking folders below a *home*: the folder of a top-level package, or the folder
of a loose file. What is not below a home (torch, the standard library) is not the plugin's own code.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..files import is_settled, signature
from .content import content_hash
from .normal_form import called, nodes

#: The harness's own package, and the parts of it that decide results. The rest is interface: it never enters
#: a key.
HARNESS = __name__.partition(".")[0]
HARNESS_ROOT = Path(__file__).parents[__name__.count(".") - 1]
RESULT_PARTS = ("models", "training", "statistics", "planning.subsets")


@dataclass(frozen=True)
class Home:
    """A folder of code that belongs together.

    Attributes:
        package: name of the top-level package; ``""`` for a loose file and the files next to it.
        root: folder of that package, or of the loose file.
    """

    package: str
    root: Path

    def candidates(self, parts: tuple[str, ...]) -> tuple[Path, ...]:
        """Return the files that may hold the module of a dotted name below this home, best first.

        None for what is not its code: the harness's interfaces, and what lies next to a one-file distribution.
        """
        if self.package == HARNESS and not any(f"{'.'.join(parts)}.".startswith(f"{part}.") for part in RESULT_PARTS):
            return ()
        if not self.package and self.root.name in ("site-packages", "dist-packages"):
            return ()
        stem = self.root.joinpath(*parts)
        return (stem / "__init__.py", *([stem.with_name(f"{parts[-1]}.py")] if parts else []))

    def module(self, parts: tuple[str, ...]) -> Module | None:
        """Return the module of a dotted name below this home, or ``None`` when no source of it is here."""
        files = (path for path in self.candidates(parts) if path.is_file())
        return next((Module(self, parts, path) for path in files), None)


@dataclass(frozen=True)
class Module:
    """One source file and its dotted name below its home."""

    home: Home
    parts: tuple[str, ...]
    path: Path

    @property
    def name(self) -> str:
        """Return the full dotted name; that of a loose file has no package in it."""
        return ".".join((self.home.package, *self.parts)).strip(".")

    @property
    def container(self) -> tuple[str, ...]:
        """Return the package that a relative import with one dot starts from."""
        return self.parts if self.path.name == "__init__.py" else self.parts[:-1]


@dataclass(frozen=True)
class CodeSource:
    """The class whose code decides a step's result: where it is written, without holding the class.

    Attributes:
        path: the module's file.
        class_name: the class in it.
        package: top-level package, ``""`` for a loose file.
        root: folder of that package, or of the loose file.
        module: dotted name below the package (``"generators.real"``), so that a moved or renamed install
            changes nothing.
    """

    path: Path
    class_name: str
    package: str
    root: Path
    module: str

    @classmethod
    def from_class(cls, plugin: type) -> CodeSource:
        """Describe an imported class: an installed plugin, or one loaded from a file.

        Raises:
            UsageError: the class has no source file (it was typed into an interpreter).
        """
        name = plugin.__module__
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if file is None or not file.endswith(".py"):
            raise UsageError(f"{plugin.__name__}: its source file cannot be found; define the class in a .py file")
        path = Path(file)
        if "." not in name and not hasattr(module, "__path__"):
            return cls(path, plugin.__name__, "", path.parent, path.stem)
        package, _, inner = name.partition(".")
        depth = inner.count(".") + 1 if inner else 0
        folder = path.parent if path.name == "__init__.py" else path.with_suffix("")
        root = folder.parents[depth - 1] if depth else folder
        return cls(path, plugin.__name__, package, root, inner)

    def as_module(self) -> Module:
        """Return the module that defines the class."""
        return Module(Home(self.package, self.root), tuple(self.module.split(".")) if self.module else (), self.path)


def installed_module(name: str) -> Module | None:
    """Return a module of this environment; the import system is asked for its top level only."""
    package, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is None:
        if rest or not spec.origin or not spec.origin.endswith(".py"):
            return None
        path = Path(spec.origin)
        return Module(Home("", path.parent), (path.stem,), path)
    for folder in spec.submodule_search_locations:
        module = Home(package, Path(folder)).module(tuple(rest))
        if module is not None:
            return module
    return None


#: Where a module is to be looked for: a home and the dotted name below it.
Place = tuple[Home, tuple[str, ...]]


def named_place(importer: Module, name: str, level: int = 0) -> Place | None:
    """Return the place that an import names, ``None`` for code that is not the importer's own.

    Args:
        importer: the module in which the statement stands.
        name: the dotted name, without leading dots.
        level: how many leading dots.
    """
    parts = tuple(name.split(".")) if name else ()
    if level:
        climbed = len(importer.container) - (level - 1)
        return (importer.home, (*importer.container[:climbed], *parts)) if climbed >= 0 else None
    if parts[0] == HARNESS:
        return Home(HARNESS, HARNESS_ROOT), parts[1:]
    if not importer.home.package:
        return importer.home, parts
    return (importer.home, parts[1:]) if parts[0] == importer.home.package else None


@dataclass(frozen=True)
class Imported:
    """One name of an import: what the importing code knows of it, and where its code may lie.

    Attributes:
        name: the name in the module that it is imported from, ``""`` for a module itself.
        bound: the name that the importing code gives it, ``""`` for a dotted one (``import a.b``).
        places: the modules that it may come from; none for code of another distribution.
        dotted: for ``import a.b``, every dotted name that stands for a module in the code, and its place.
    """

    name: str
    bound: str
    places: tuple[Place, ...]
    dotted: tuple[tuple[str, Place], ...] = ()


def imports_of(importer: Module, node: ast.AST) -> list[Imported]:
    """Return what a node of a module imports, in the order of its normal form; nothing for any other node.

    Whether ``b`` in ``from a import b`` is a module, the files must say: both ``a`` and ``a.b`` are named. Of a
    package that imports its names on first use (:func:`lazy_places`), the module of that name is, and not ``a``.
    """
    if isinstance(node, ast.Import):
        return [_imported_module(importer, alias) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = named_place(importer, node.module or "", node.level)
        names = sorted(node.names, key=lambda alias: (alias.name, alias.asname or ""))
        return [_imported_name(base, alias) for alias in names] if base else []
    if isinstance(node, ast.Call) and called(node) in ("import_module", "__import__") and node.args:
        text = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
        if isinstance(text, str) and text:
            name = text.lstrip(".")
            target = named_place(importer, name, len(text) - len(name))
            return [Imported("", "", (target,))] if target else []
    return []


def _imported_module(importer: Module, alias: ast.alias) -> Imported:
    target = named_place(importer, alias.name)
    if target is None:
        return Imported(alias.name, alias.asname or "", ())
    if alias.asname:
        return Imported("", alias.asname, (target,))
    home, parts = target
    above = tuple((home, parts[:size]) for size in range(len(parts)))  # `import a.b` also binds `a`
    names = alias.name.split(".")
    if len(names) == 1:
        return Imported("", alias.name, (target, *above))
    dotted = [(".".join(names[: size + 1]), size + 1 - len(names)) for size in range(1, len(names))]
    return Imported("", "", (target, *above), tuple((name, (home, parts[: size or None])) for name, size in dotted))


def _imported_name(base: Place, alias: ast.alias) -> Imported:
    home, parts = base
    bound = alias.asname or alias.name
    source = home.module(parts)
    if source is not None and source.path.name != "__init__.py":
        return Imported(alias.name, bound, (base,))
    if alias.name == "*":
        names = _exported(source) if source else []
        return Imported("*", "", (base, *((home, (*parts, name)) for name in names)))
    below = home, (*parts, alias.name)
    lazy = lazy_places(base)
    if home.module(below[1]):
        return Imported("", bound, (below,) if lazy else (base, below))
    return Imported(alias.name, bound, (lazy[alias.name],) if alias.name in lazy else (base, below))


def lazy_places(package: Place) -> dict[str, Place]:
    """Return the modules of the names that a package imports on first use, by name.

    Such a package has a ``__getattr__``, and says where a name lies in imports under ``TYPE_CHECKING`` or in a
    written-out table ``{"name": "module"}`` (also ``**dict.fromkeys(("a", "b"), "module")``), relative to itself.
    """
    home, parts = package
    path = home.root.joinpath(*parts, "__init__.py")
    if not file_digest(path):
        return {}
    tree = parsed(path)
    if not any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body):
        return {}
    module = Module(home, parts, path)
    places: dict[str, Place | None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif called(node) == "fromkeys" and isinstance(node, ast.Call) and len(node.args) == 2:
            pairs = [(key, node.args[1]) for key in getattr(node.args[0], "elts", ())]
        else:
            pairs = []
            if isinstance(node, ast.ImportFrom) and node.level:
                place = named_place(module, node.module or "", node.level)
                places |= {alias.asname or alias.name: place for alias in node.names}
        for key, value in pairs:
            texts = [item.value for item in (key, value) if isinstance(item, ast.Constant)]
            if len(texts) == 2 and all(isinstance(text, str) and text for text in texts):
                places[str(texts[0])] = named_place(module, str(texts[1]).lstrip("."), 1)
    return {name: place for name, place in places.items() if place and place != package}


def _exported(module: Module) -> list[str]:
    """Return the texts in ``__all__`` of a module, which a star import imports if they are submodules."""
    for node in parsed(module.path).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [str(item.value) for item in ast.walk(node.value) if isinstance(item, ast.Constant)]
    return []


def class_definitions(module: Module, name: str) -> list[ast.ClassDef]:
    """Return the classes of a name in a module, also those defined inside a function."""
    return [node for node in ast.walk(parsed(module.path)) if isinstance(node, ast.ClassDef) and node.name == name]


def binding(module: Module, name: str) -> tuple[Module, str] | None:
    """Return the module, and the name there, that an import in ``module`` binds ``name`` to.

    Also looks into other installed packages, as a plugin may extend the class of another distribution.
    """
    for node in nodes(parsed(module.path)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    own = named_place(module, node.module or "", node.level)
                    if own:
                        own = lazy_places(own).get(alias.name, own)
                    target = own[0].module(own[1]) if own else None
                    if own is None and not node.level and node.module:
                        target = installed_module(node.module)
                    return (target, alias.name) if target else None
    return None


def definition_of(module: Module, class_name: str) -> tuple[Module, str] | None:
    """Return the module in which a class is written and its name there, following re-exports."""
    place: tuple[Module, str] | None = (module, class_name)
    for _ in range(10):
        if place is None or class_definitions(*place):
            break
        place = binding(*place)
    return place if place and class_definitions(*place) else None


class _Files:
    """Content of source files as it is now; reads a file again only when it was touched.

    Two edits within one tick of the file system's clock leave the same signature, so a file that was read
    less than two seconds after its last change is read again.
    """

    def __init__(self) -> None:
        self._digests: dict[Path, tuple[tuple[int, ...], bool, str]] = {}
        self._trees: dict[Path, tuple[str, ast.Module]] = {}

    def digest(self, path: Path) -> str:
        """Return the hash of a file's or folder's bytes, ``""`` when it is not there."""
        try:
            now = time.time_ns()
            mark = signature(path.stat())
        except OSError:
            return ""
        known = self._digests.get(path)
        if known and known[1] and known[0] == mark:
            return known[2]
        digest = content_hash(path)
        self._digests[path] = (mark, path.is_file() and is_settled(mark, now), digest)
        return digest

    def tree(self, path: Path) -> ast.Module:
        """Return the syntax tree of a file.

        Raises:
            UsageError: the file is no Python, or cannot be read.
        """
        digest = self.digest(path)
        known = self._trees.get(path)
        if known is None or known[0] != digest:
            known = self._trees[path] = (digest, _parse(path, digest))
        return known[1]


def _parse(path: Path, digest: str) -> ast.Module:
    try:
        text = path.read_bytes()
        if hashlib.sha256(text).hexdigest() != digest:
            raise UsageError(f"{path}: changed while it was read; run again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise UsageError(f"{path}:{error.lineno or 1}: no valid Python: {error.msg}") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path}: cannot be read as Python: {error}") from None


_FILES = _Files()


def file_digest(path: Path) -> str:
    """Return the hash of a file as it is now, ``""`` when it is missing."""
    return _FILES.digest(path)


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file as it is now; raises ``UsageError`` with file and line."""
    return _FILES.tree(path)
