"""A picture of images in rows and columns: real images, each with what was made of it.

Pictures of what a generator makes: real images, each with what was generated from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..files import put, safe_name
from ..plugins.origins import Origins
from .canvas import LETTER, STYLE, drawable, fitting, png, tile, tile_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..planning.cells import PlannedCell
    from ..planning.steps import Step
    from ..plugins.images import ImageSet
    from ..store.store import Store


#: Pixels between tiles, for the names of rows at most, around the picture, and of a line above and below tiles.
GAP, LABEL, MARGIN, LINE, CAPTION = 4, 150, 12, 18, 14
#: Pixels from the top of a line of text to its baseline.
ASCENT = 11
#: Width in px below which a title would rarely fit, and to which a longer one widens the picture.
NARROWEST, WIDENED = 480, 800
#: How many classes of a soft label are named at most, and the share below which one is not worth naming.
NAMED, LEAST_SHARE = 3, 0.005


class Tile(NamedTuple):
    """One image of a picture.

    Attributes:
        pixels: uint8 ``(H, W, 3)``.
        parts: classes of a soft label with their shares, largest first; empty where the label is the row's.
    """

    pixels: NDArray[np.uint8]
    parts: tuple[tuple[str, float], ...] = ()


class Group(NamedTuple):
    """Columns under one heading: ``rows[i]`` are the tiles of real image ``i``, ``None`` for an empty place."""

    heading: str
    rows: Sequence[Sequence[Tile | None]]


def draw_gallery(names: Sequence[str], groups: Sequence[Group], title: Sequence[str], path: Path) -> Path:
    """Draw a row for each name, with the tiles of every group in it, and write a PNG.

    Args:
        names: the class of each row.
        groups: the first one is the real images; all tiles are of one size, and each group has a row for each name.
        title: lines above.
        path: the file to write; an existing one is replaced.

    Raises:
        ValueError: there is no row.
        BenchError: the file cannot be written.
    """
    if not names:
        raise ValueError("a gallery needs at least one image")
    return put(path, png(lambda: _figure(names, groups, title), STYLE))


def _figure(names: Sequence[str], groups: Sequence[Group], title: Sequence[str]) -> Any:
    from matplotlib.figure import Figure

    tiles = [item for group in groups for row in group.rows for item in row if item is not None]
    width, height = size = tile_size(tiles[0].pixels.shape[1], tiles[0].pixels.shape[0])
    every = frozenset([*names, *(name for item in tiles for name, _ in _named(item.parts))])
    captions = [caption(item.parts, width, every) for item in tiles]
    step = height + GAP + CAPTION * max(map(len, captions))
    top = MARGIN + LINE * len(title) + LINE
    label = min(LABEL, LETTER * max(len(drawable(name)) for name in names))
    lefts = [label + 2 * MARGIN]
    for group in groups:
        lefts.append(lefts[-1] + max(map(len, group.rows)) * (width + GAP) - GAP + 3 * MARGIN)
    longest = LETTER * max(map(len, title), default=0) + 2 * MARGIN
    right = max(lefts.pop() - 2 * MARGIN, NARROWEST, min(longest, WIDENED))
    bottom = top + len(names) * step - GAP + MARGIN
    figure = Figure(figsize=((right + 0.5) / 72, (bottom + 0.5) / 72), dpi=72)  # Agg cuts a part of a pixel off

    def write(text: str, x: int, y: int) -> None:
        figure.text(x, bottom - y - ASCENT, text, transform=None, va="baseline")

    for number, line in enumerate(title):
        write(fitting(line, right - 2 * MARGIN), MARGIN, MARGIN - 4 + LINE * number)
    for number, name in enumerate(names):
        write(fitting(name, label, every), MARGIN, top + number * step + (height - LINE) // 2)
    below = iter(captions)
    for group, left, until in zip(groups, lefts, [*lefts[1:], right], strict=True):
        write(fitting(group.heading, until - left - GAP), left, top - LINE)
        for number, row in enumerate(group.rows):
            for column, item in enumerate(row):
                if item is not None:
                    x, y = left + column * (width + GAP), top + number * step
                    figure.figimage(tile(item.pixels, size), x, bottom - y - height, origin="upper")
                    for place, line in enumerate(next(below)):
                        write(line, x, y + height + CAPTION * place)
    return figure


def caption(parts: Sequence[tuple[str, float]], width: int, every: frozenset[str] = frozenset()) -> list[str]:
    """Return a soft label as lines that fit into ``width`` px: ``3 .62 / 8 .38``, or a line for each class.

    Classes with next to no share are left out, and so are those after the third; a name is shortened, never its
    share, and differs from the other names in the picture, ``every``. A label of one class is its name alone.
    """
    named = _named(parts)
    if len(named) == 1:
        return [fitting(named[0][0], width, every)]
    lines = [(drawable(name), f" {share:.2f}".replace(" 0.", " .")) for name, share in named]
    whole = " / ".join(name + share for name, share in lines)
    if len(whole) * LETTER <= width:
        return [whole] if whole else []
    return [fitting(name, width - len(share) * LETTER, every) + share for name, share in lines]


def _named(parts: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, share) for name, share in parts if share >= LEAST_SHARE][:NAMED]


class Variants(NamedTuple):
    """One row of a grid: its class, the index of a real image, if there is one, and of the generated images."""

    label: int
    real: int | None
    synthetic: list[int]


def draw_figures(cells: Sequence[PlannedCell], steps: Mapping[str, Step], store: Store, results: Path) -> list[Path]:
    """Draw a grid of real images next to what was generated from them, for every generation that is in the store.

    Controls generate nothing and have none.

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
        it = cell.setting
        if key in drawn or not key or it.control or not store.has(key) or not store.has(cell.data):
            continue
        name = f"{it.data}-{it.gen}-n{it.n_real}-draw{it.draw + 1}"
        path = results / "figures" / f"{safe_name(name.replace(':', '-').replace(',', '-'), 80)}-{key[:8]}.png"
        drawn[key] = path
        if path.exists():
            continue
        train = ImageSet.load(store.path(cell.data) / "train")
        wanted, chosen = steps[key].body["subset"], None
        if wanted:
            dataset = steps[key].run["info"]["name"]
            chosen = subsets.select(train.labels, train.classes, dataset=dataset, **wanted)
        made = ImageSet.load(store.path(key))
        title = f"{it.gen} on {it.data}, {it.n_real} real images, {len(made)} generated"
        variants_grid(train, made, path, title=title, chosen=chosen)
    return list(drawn.values())


def variants_grid(
    real: ImageSet,
    synthetic: ImageSet,
    path: Path,
    rows: int = 10,
    columns: int = 10,
    title: str = "",
    chosen: NDArray[np.int64] | None = None,
) -> Path:
    """Draw real images, each next to the images generated from it, and write a PNG.

    Rows go around the classes, so that few rows show many classes. Without a ``source`` in the origins, a row
    shows the first real image of a class and generated images of that class, and the heading says so.

    Args:
        real: the real training images; few of them are read.
        synthetic: what was generated from them.
        path: the file to write.
        rows: at most so many real images.
        columns: at most so many generated images for each.
        title: one line above.
        chosen: int64 ``(n,)``, the subset of ``real`` that ``origins[i]["source"]`` points into; all if left out.

    Raises:
        ValueError: one of the sets is empty.
        BenchError: the file cannot be written.

    """
    places = range(len(real)) if chosen is None else chosen
    if not len(places) or not len(synthetic):
        raise ValueError("a grid needs at least one real and one generated image")
    every, sourced = variants(real.labels if chosen is None else real.labels[chosen], synthetic)
    shown = every[:rows]
    left = [[None if row.real is None else Tile(real.images[places[row.real]])] for row in shown]
    right = [[Tile(synthetic.images[index]) for index in row.synthetic[:columns]] for row in shown]
    groups = [Group("real source" if sourced else "first of class", left), Group("generated", right)]
    return draw_gallery([real.classes[row.label] for row in shown], groups, [title] if title else [], path)


def variants(real: NDArray[np.int64], synthetic: ImageSet) -> tuple[list[Variants], bool]:
    """Return the rows of a grid: the first of every class, then the second of every class, and so on.

    A row is a real image with what was generated from it. Unless every origin has a valid ``source``, which the second
    value says, a row is the first real image of a class with all generated images of it; classes without one are last.

    Args:
        real: labels of the real images, int64 ``(N,)``.
        synthetic: what was generated from them.
    """
    import numpy as np

    known = Origins.of(synthetic.origins)
    sources = known.column("source") if known else []
    sourced = bool(sources) and all(type(source) is int and 0 <= source < len(real) for source in sources)
    if sourced:
        real_of = np.array(sources)
        labels = real[real_of]
    else:
        firsts = np.full(len(synthetic.classes), -1)
        firsts[real[::-1]] = np.arange(len(real))[::-1]  # the first one of a class is written last
        labels, real_of = synthetic.labels, firsts[synthetic.labels]
    order = np.lexsort((real_of, labels))
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1) | np.diff(real_of[order], prepend=-2))
    members = {(int(labels[group[0]]), int(real_of[group[0]])): group.tolist() for group in np.split(order, starts[1:])}
    turns: Counter[int] = Counter()
    rows = []
    for label, source in sorted(members):
        turns[label] += 1
        made = Variants(label, source if source >= 0 else None, members[label, source])
        rows.append(((source < 0, turns[label], label), made))
    return [row for _, row in sorted(rows, key=itemgetter(0))], sourced
