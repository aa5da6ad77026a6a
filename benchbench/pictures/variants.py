"""Pictures of what a generator makes: real images, each beside what was generated from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import safe_name
from .gallery import Group, Tile, draw_gallery

if TYPE_CHECKING:
    from ..planning.cells import PlannedCell
    from ..planning.steps import Step
    from ..plugins.images import ImageSet
    from ..store.store import Store


class Variants(NamedTuple):
    """One row of a grid: its class, the index of a real image, if there is one, and of the generated images beside."""

    label: int
    real: int | None
    synthetic: list[int]


def draw_figures(cells: Sequence[PlannedCell], steps: Mapping[str, Step], store: Store, results: Path) -> list[Path]:
    """Draw a grid of real images beside what was generated from them, for every generation that is in the store.

    Args:
        cells: of a plan.
        steps: of the plan, by key.
        store: has the images.
        results: the results folder; pictures go to ``figures/`` in it. One that is there already is kept.

    Returns:
        The paths of all pictures, in the order of the cells.

    Raises:
        BenchError: a file cannot be written.
    """
    from ..planning import subsets
    from ..plugins.images import ImageSet

    drawn: dict[str, Path] = {}
    for cell in cells:
        key = cell.sample[-1] if cell.sample else ""
        if key in drawn or not key or not store.has(key) or not store.has(cell.data):
            continue
        it = cell.setting
        name = f"{it.data}-{it.gen}-n{it.n_real}-draw{it.draw + 1}"
        path = results / "figures" / f"{safe_name(name.replace(':', '-').replace(',', '-'), 80)}-{key[:8]}.png"
        drawn[key] = path
        if path.exists():
            continue
        train = ImageSet.load(store.path(cell.data) / "train")
        wanted = steps[key].body["subset"]
        if wanted:
            dataset = steps[key].run["info"]["name"]
            train = train.subset(subsets.select(train.labels, train.classes, dataset=dataset, **wanted))
        made = ImageSet.load(store.path(key))
        title = f"{it.gen} on {it.data}, {it.n_real} real images, {len(made)} generated"
        variants_grid(train, made, path, title=title)
    return list(drawn.values())


def variants_grid(
    real: ImageSet, synthetic: ImageSet, path: Path, rows: int = 10, columns: int = 10, title: str = ""
) -> Path:
    """Draw real images, each beside the images generated from it, and write a PNG.

    Rows go around the classes, so that few rows show many classes. Without a ``source`` in the origins, a row
    shows the first real image of a class and generated images of that class, and the heading says so.

    Args:
        real: the real training subset that ``origins[i]["source"]`` points into.
        synthetic: what was generated from it.
        path: the file to write.
        rows: at most so many real images.
        columns: at most so many generated images beside each.
        title: one line above.

    Raises:
        ValueError: one of the sets is empty.
        BenchError: the file cannot be written.

    """
    if not len(real) or not len(synthetic):
        raise ValueError("a grid needs at least one real and one generated image")
    every, sourced = variants(real, synthetic)
    chosen = every[:rows]
    left = [[None if row.real is None else Tile(real.images[row.real])] for row in chosen]
    right = [[Tile(synthetic.images[index]) for index in row.synthetic[:columns]] for row in chosen]
    groups = [Group("real source" if sourced else "first of class", left), Group("generated", right)]
    return draw_gallery([real.classes[row.label] for row in chosen], groups, [title] if title else [], path)


def variants(real: ImageSet, synthetic: ImageSet) -> tuple[list[Variants], bool]:
    """Return the rows of a grid: the first of every class, then the second of every class, and so on.

    A row is a real image with what was generated from it. Unless every origin has a valid ``source``, which the second
    value says, a row is the first real image of a class with all generated images of it; classes without one are last.
    """
    sources: list[Any] = [origin.get("source") for origin in synthetic.origins]
    sourced = bool(sources) and all(type(source) is int and 0 <= source < len(real) for source in sources)
    if sourced:
        keys = [(int(real.labels[source]), source) for source in sources]
    else:
        firsts = {label: len(real) - 1 - back for back, label in enumerate(reversed(real.labels.tolist()))}
        keys = [(label, firsts.get(label, -1)) for label in synthetic.labels.tolist()]
    found: dict[tuple[int, int], list[int]] = {}
    for index, key in enumerate(keys):
        found.setdefault(key, []).append(index)
    turns: Counter[int] = Counter()
    rows = []
    for label, source in sorted(found):
        turns[label] += 1
        made = Variants(label, source if source >= 0 else None, found[label, source])
        rows.append(((source < 0, turns[label], label), made))
    return [row for _, row in sorted(rows, key=itemgetter(0))], sourced
