"""The design of a comparison: how often each row is trained, which controls stand beside the rows, what is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..plugins import DatasetInfo, Generator
from ..plugins.catalog import catalog
from .options import Request, read_suite
from .setting import Cell, Setting

#: Real to generated images in each batch when ``--mix`` is not given.
USUAL_MIX = {"quick": (1, 1), "paper": (0, 1)}
#: Draws and seeds of each row under ``paper``: five seeds, as Zhou et al. 2023 have them in figure 5.
PAPER = (1, 5)
#: What the images of a control are, by its kind; ``{}`` is their number.
_IMAGES = {
    "more-real": "{} further real images",
    "half-real": "{} of the real images alone",
    "copies": "the real images repeated, {} in all",
}


@dataclass(frozen=True)
class Design:
    """How the rows of one dataset are trained.

    Attributes:
        few: draws, and seeds on each, where some real images are chosen out of more.
        whole: the same where all real images are in use, of which there is one draw.
        controls: whether controls are added to the rows.
        control_draws: the first draws on which they are trained; ``None`` for all.
        control_archs: their architectures, where the user asks for one of them; empty for all.
    """

    few: tuple[int, int]
    whole: tuple[int, int]
    controls: bool = False
    control_draws: int | None = None
    control_archs: tuple[str, ...] = ()

    def trainings(self, rest: int) -> tuple[int, int]:
        """Return draws and seeds of a row beside whose real images there are ``rest`` further ones."""
        return self.few if rest else self.whole

    def has_controls(self, draw: int) -> bool:
        """Return whether controls are trained on a draw, counted from 0."""
        return self.controls and (self.control_draws is None or draw < self.control_draws)

    def archs_of_controls(self, asked: Sequence[str | None]) -> tuple[str | None, ...]:
        """Return the architectures, among those asked for, that controls are trained with."""
        return tuple(arch for arch in asked if arch in self.control_archs) or tuple(asked)


def make_design(request: Request, info: DatasetInfo, own_draws: int, *, generates: bool, baseline: bool) -> Design:
    """Return the design for one dataset.

    ``--draws`` and ``--seeds`` mean what they say, for controls too, which are then added by ``--controls`` alone. With
    neither, a comparison is as the dataset declares it, or under ``paper`` as published.

    Args:
        request: what was asked for.
        info: the dataset.
        own_draws: draws that the protocol of a learner averages over.
        generates: whether there is a row of generated images.
        baseline: whether there is a row of the real images alone.

    Raises:
        UsageError: controls are asked for, and there is no baseline to compare them with; or settings are to be chosen
            on a validation part that the dataset does not have.
    """
    if request.select and not info.counts.get("validation"):
        raise UsageError(f"--select {request.select}: {info.name} has no validation part to choose on")
    if request.controls and not baseline:
        raise UsageError("--controls: are compared with the baseline row; omit --no-baseline")
    declared, compares = not (request.draws or request.seeds), baseline and (generates or bool(request.controls))
    usual = (1 if generates else own_draws, 1)
    if not declared:
        seeds = request.seeds or 1
        return Design((request.draws or usual[0], seeds), (request.draws or 1, seeds), bool(request.controls))
    if request.preset == "paper":
        return Design((own_draws, 1) if own_draws > 1 else PAPER, PAPER, bool(request.controls))
    if not compares:
        return Design(usual, (1, 1))
    few, whole = usual_trainings(info)
    controls = request.controls is not False
    return Design(few, whole, controls, info.control_draws, info.control_archs)


def usual_trainings(info: DatasetInfo) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return draws and seeds that a dataset declares: of some of its real images, and of all of them.

    One draw out of many possible ones carries no verdict, so a declared single draw is that of all images; of some, its
    seeds become draws, which cost as many trainings.
    """
    draws, seeds = info.usual_draws, info.usual_seeds
    return ((draws, seeds) if draws > 1 else (seeds, 1)), (1, draws * seeds)


def control_names() -> tuple[str, ...]:
    """Return the generators that are controls, as the default suite says."""
    return tuple(read_suite("default").get("control_generators", ()))


def fits(control: Generator, rest: int, info: DatasetInfo) -> bool:
    """Return whether a control can be trained beside rows, beside whose real images there are ``rest`` further ones."""
    if control.control == "half-real":
        return not rest and min(info.class_counts) > 1
    return bool(rest) or not control.reads_rest


def told(cells: Sequence[Cell], info: DatasetInfo) -> list[str]:
    """Return the lines of a plan about the design for one dataset, whose cells are given."""
    rows = [cell for cell in cells if not cell.control and cell.n_real]
    controls = [cell for cell in cells if cell.control]
    lines = [f"trainings  {', '.join(_shapes(rows))} of each row"] if rows else []
    generated = [cell for cell in rows if not cell.baseline]
    if controls:
        lines.append(f"controls   {'; '.join(dict.fromkeys(_control(cell, info) for cell in controls))}")
    elif generated and any(cell.baseline for cell in rows):
        lines.append("controls   none; --controls adds them")
    if controls and not any(cell.control != "copies" for cell in controls):
        possible = not all(cell.setting.whole for cell in rows) or min(info.class_counts) > 1
        why = "--controls adds one" if possible else "all real images are in use"
        lines.append(f"left out   a positive control: {why}")
    archs, draws = ({getattr(cell, axis) for cell in controls} for axis in ("arch", "draw"))
    other_archs = [arch for arch in dict.fromkeys(cell.arch for cell in generated) if arch not in archs]
    other_draws = [str(draw + 1) for draw in sorted({cell.draw for cell in generated} - draws)]
    places = (("of", other_archs), ("on draw", other_draws))
    without = [f"{word} {', '.join(names)}" for word, names in places if names]
    if controls and without:
        how = "--controls with --draws and --seeds trains all"
        lines.append(f"left out   controls {' and '.join(without)}, as {info.name} declares; {how}")
    return [*lines, *_offered(rows, info)]


def _offered(rows: Sequence[Cell], info: DatasetInfo) -> list[str]:
    """Return what the default suite offers for photographs, which no embedded model knows, to who did not take it."""
    suite = read_suite("default")
    learner = str(suite.get("photographs_learner", ""))
    name = learner.partition(":")[0]
    known = info.foundation in catalog().names("foundation")
    if not name or known or any(cell.learner.partition(":")[0] == name for cell in rows):
        return []
    return [f"to try     --learner {learner} {suite.get('photographs_words', '')}".rstrip()]


def _shapes(cells: Iterable[Cell]) -> dict[str, None]:
    """Return how many draws and seeds the rows have, each such number once."""
    rows: dict[Setting, tuple[set[int], set[int]]] = {}
    for cell in cells:
        draws, seeds = rows.setdefault(cell.setting, (set(), set()))
        draws.add(cell.draw)
        seeds.add(cell.replicate)
    return dict.fromkeys(f"{_count(draws, 'draw')} x {_count(seeds, 'seed')}" for draws, seeds in rows.values())


def _count(values: set[int], noun: str) -> str:
    return f"{len(values)} {noun}{'' if len(values) == 1 else 's'}"


def _control(cell: Cell, info: DatasetInfo) -> str:
    images = _IMAGES[cell.control].format(f"{cell.n_syn:,}")
    every = cell.control == "more-real" and cell.n_real + cell.n_syn == sum(info.class_counts)
    return f"{cell.gen} ({images}{', all there are' if every else ''})"


def baseline_name() -> str:
    """Return the generator that stands for plain real images, as the default suite says.

    Raises:
        UsageError: it names none.
    """
    name: str | None = read_suite("default").get("real_generator")
    if name is None:
        raise UsageError("the default suite names no generator of real images (real_generator); use --no-baseline")
    return name


def capped(info: DatasetInfo) -> int | None:
    """Return how many real images the paper's preset uses: all (``None``), or the dataset's cap for each class."""
    if info.paper_cap is None:
        return None
    count = sum(min(info.paper_cap, of_class) for of_class in info.class_counts)
    return count if count < sum(info.class_counts) else None
