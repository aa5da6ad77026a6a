"""``bench new KIND NAME``: a working plugin and its test, two plain files to start from."""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from ..errors import UsageError, nearest
from . import some_foundation

#: What ``bench new`` can write, each with the kind of plugin that it is. A foundation is weights, which no template
#: can give.
TEMPLATES = {
    "generator": "generator",
    "text-to-image-generator": "generator",
    "fitted-generator": "generator",
    "dataset": "dataset",
    "augmentation": "augmentation",
    "learner": "learner",
    "metric": "metric",
    "executor": "executor",
    "report": "report",
}
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


def create(kind: str, name: str, folder: Path) -> list[Path]:
    """Write ``NAME.py`` and ``test_NAME.py`` into ``folder``.

    Args:
        kind: one of ``TEMPLATES``.
        name: as the command line will spell it: small letters, digits and dashes.
        folder: an existing folder.

    Returns:
        The two files: the plugin, then its test.

    Raises:
        UsageError: an unknown kind, a name that makes no module, or a file that is there already.
    """
    module = _module(kind, name)
    title = "".join(part.capitalize() for part in module.split("_"))
    words = {"name": name, "module": module, "title": title, "foundation": some_foundation()}
    targets = [folder / f"{module}.py", folder / f"test_{module}.py"]
    for path in targets:
        if path.exists():
            raise UsageError(f"{path}: is there already and would be overwritten; choose another name")
    if importlib.util.find_spec(module) is not None:
        raise UsageError(f"{name}: {module}.py would hide the module {module!r} of this Python; choose another name")
    templates = files(__package__) / "templates"
    try:
        for path, source in zip(targets, (f"{kind}.txt", f"test_{kind}.txt"), strict=True):
            path.write_text(Template((templates / source).read_text("utf-8")).substitute(words), "utf-8")
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written to ({error.strerror})") from None
    return targets


def _module(kind: str, name: str) -> str:
    """Return the module's name, having checked both words of the request."""
    if kind == "foundation":
        raise UsageError("foundation: has no template, being weights in a folder; name that folder as model=./folder")
    if kind not in TEMPLATES:
        raise UsageError(
            f"{kind}: unknown kind{nearest(kind, tuple(TEMPLATES)) or '; there are ' + ', '.join(TEMPLATES)}"
        )
    module = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        example = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789") or f"my-{kind}"
        raise UsageError(f"{name!r}: a name is small letters, digits and dashes, as in {example}")
    if keyword.iskeyword(module):
        raise UsageError(f"{name}: is a word of Python; choose another name, such as my-{name}")
    return module
