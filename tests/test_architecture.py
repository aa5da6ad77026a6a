"""The picture in ``docs/architecture.md`` against the imports: every arrow goes down, so that there is no circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PICTURE = re.compile(r"<!-- rooms -->\n```\n(.*?)```", re.DOTALL)


def storeys(text: str) -> list[list[str]]:
    """Return the rooms of each storey of the picture, the top one first; what stands behind two spaces explains."""
    found = PICTURE.search(text)
    assert found, "docs/architecture.md has no block of rooms behind <!-- rooms -->"
    return [re.split(r"\s{2,}", line)[0].split() for line in found[1].splitlines() if line.strip()]


def rooms(package: Path) -> set[str]:
    """Return the packages and modules right below a package."""
    return {path.stem for path in package.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}


def arrows(package: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each import between rooms, also inside functions: where it stands, its room, the room it reaches."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        here = Path(parts[0]).stem
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            places: list[list[str]] = []
            if isinstance(node, ast.ImportFrom) and node.level:
                base = list(parts[:-1])[: len(parts) - node.level]
                whole = [*base, *(node.module or "").split(".")] if node.module else base
                places = [whole] if whole else [[alias.name] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                places = [node.module.split(".")[1:]] if node.module.split(".")[0] == package.name else []
            elif isinstance(node, ast.Import):
                places = [n.name.split(".")[1:] for n in node.names if n.name.split(".")[0] == package.name]
            for place in places:
                if place and place[0] != here:
                    yield f"{path.relative_to(package.parent)}:{node.lineno}", here, place[0]


def wrong_arrows(package: Path, picture: list[list[str]]) -> list[str]:
    """Return one line for each import that does not go down."""
    level = {room: place for place, row in enumerate(picture) for room in row}
    every = (arrow for arrow in arrows(package) if arrow[1] not in ("__init__", "__main__"))
    return [f"{where}: {here} imports {there}, which is not below it" for where, here, there in every
            if level.get(there, -1) <= level.get(here, len(level))]  # fmt: skip


@pytest.fixture(scope="module")
def picture() -> list[list[str]]:
    return storeys((ROOT / "docs" / "architecture.md").read_text("utf-8"))


def test_the_picture_shows_every_room_once(picture):
    shown = [room for row in picture for room in row]
    assert sorted(shown) == sorted(rooms(ROOT / "benchbench") - {"__init__", "__main__", "__pycache__"})


def test_every_import_goes_down(picture):
    """No arrow upwards, none inside a storey: hence no circle. A line names the import that broke it."""
    assert wrong_arrows(ROOT / "benchbench", picture) == []


def test_an_arrow_upwards_is_named(tmp_path):
    package = tmp_path / "house"
    for room, text in {
        "upper": "from ..lower import a\n",
        "lower": "def a():\n    from house.upper import b\n",
    }.items():
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text(text)
    assert wrong_arrows(package, [["upper"], ["lower"]]) == [
        "house/lower/__init__.py:2: lower imports upper, which is not below it"
    ]
    assert storeys("<!-- rooms -->\n```\nupper  people\nlower cellar   things\n```") == [["upper"], ["lower", "cellar"]]


def test_every_import_of_ours_names_a_module_that_is_there():
    """Also inside functions, where nothing but a run would notice."""
    roots = {"benchbench": ROOT / "benchbench", "benchbench_plugins": ROOT / "plugins"}
    missing = []
    for name, root in roots.items():
        for path in root.rglob("*.py"):
            package = [name, *path.relative_to(root).parent.parts]
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.ImportFrom):
                    continue
                parts = [*package[: len(package) - node.level + 1]] if node.level else []
                parts += node.module.split(".") if node.module else []
                if parts[0] not in roots:
                    continue
                place = roots[parts[0]].joinpath(*parts[1:])
                if not (place.with_suffix(".py").exists() or (place / "__init__.py").exists()):
                    missing.append(f"{path.relative_to(ROOT)}:{node.lineno}: {'.'.join(parts)}")
    assert missing == []
