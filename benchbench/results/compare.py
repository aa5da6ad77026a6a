"""What ``bench compare`` answers: how two rows, generators or results folders differ, and what differs between them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, nearest
from ..files import read_json
from ..planning.setting import Setting
from .folder import read_records
from .record import Record
from .table import shown_keys
from .trainings import accuracy_of, difference_of, trainings_of

if TYPE_CHECKING:
    from ..statistics.trainings import Estimate

FIELDS = tuple(item.name for item in dataclasses.fields(Setting) if item.name not in ("baseline", "whole"))
#: What follows from the generator, where one row has none.
OF_GENERATED = {"mix", "n_syn", "control"}
#: Differences of environments that are listed; more are counted.
MOST_FACTS = 8


@dataclass(frozen=True)
class Side:
    """One row of one side: its records, none of them superseded, and the folder that they are from."""

    records: Sequence[Record]
    results: Path

    @property
    def setting(self) -> Setting:
        """What was run."""
        return self.records[0].cell.setting.without_paths()

    @property
    def environments(self) -> list[str]:
        """Hashes of its environments."""
        return sorted({record.provenance.environment for record in self.records})

    @property
    def spec_id(self) -> str:
        """Identity of the row."""
        return self.records[0].spec_id


@dataclass(frozen=True)
class Compared:
    """Two rows, or the mean over several pairs of them: ``difference`` is ours minus theirs."""

    ours: Side
    theirs: Side
    difference: Estimate | None
    verdict: str
    pairs: int = 1


@dataclass(frozen=True)
class Comparison:
    """All pairs of rows, the means over architectures, and a line for each thing that differs besides."""

    pairs: Sequence[Compared]
    means: Sequence[Compared]
    differences: Sequence[str]
    problems: Sequence[str]


def compare(ours: str, theirs: str, results: Path) -> Comparison:
    """Compare two rows, generators or results folders.

    Args:
        ours: a folder with ``records/``, the first digits of a row's ``spec_id``, or values of its columns, such as
            ``"diffinv"`` or ``"diffinv resnet18"``.
        theirs: likewise; both or none are folders.
        results: where rows are looked up that are no folders.

    Raises:
        UsageError: one names no row, or no two rows agree in all that the two do not name.
    """
    folders = [(Path(text) / "records").is_dir() for text in (ours, theirs)]
    if any(folders) and not all(folders):
        text = theirs if folders[0] else ours
        what = "has no records" if Path(text).is_dir() else "is no results folder"
        raise UsageError(
            f"compare {ours} {theirs}: {text or repr(text)} {what}; give two folders with records, or two rows"
        )
    if all(folders):
        (mine, wrong), (other, too) = (_rows(Path(text)) for text in (ours, theirs))
        pairs = list(_shared(mine, other))
        problems = [*wrong, *too]
        why = "the folders have no row in common"
    else:
        rows, problems = _rows(results)
        pairs = _matched(*(_chosen(rows, text, results) for text in (ours, theirs)))
        why = "no two different rows agree in all else; name more of them, as in 'diffinv resnet18'"
    if not pairs:
        raise UsageError(f"compare {ours} {theirs}: {why}")
    groups: dict[Any, list[tuple[Side, Side]]] = {}
    for pair in pairs:
        if pair[0].setting.arch == pair[1].setting.arch:  # the others are no mean over architectures
            groups.setdefault(tuple(_values(side.setting, {"arch"}) for side in pair), []).append(pair)
    return Comparison(
        _judged([[pair] for pair in pairs]),
        _judged([group for group in groups.values() if len(group) > 1]),
        list(dict.fromkeys(line for pair in pairs for line in _differences(*pair))),
        problems,
    )


def _rows(results: Path) -> tuple[list[Side], list[str]]:
    """Return the rows of a folder in a fixed order, and what could not be read."""
    records, problems, _ = read_records(results)
    shown = shown_keys(records)
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.key in shown and record.result is not None:
            groups.setdefault(record.spec_id, []).append(record)
    sides = [Side(group, results) for group in groups.values()]
    return sorted(sides, key=lambda side: (repr(_values(side.setting)), side.spec_id)), problems


def _values(setting: Setting, without: Iterable[str] = ()) -> tuple[Any, ...]:
    return tuple(_value(setting, name) for name in FIELDS if name not in without)


def _value(setting: Setting, name: str) -> Any:
    return tuple(sorted(setting.more.items())) if name == "more" else getattr(setting, name)


def _words(setting: Setting) -> dict[str, set[str]]:
    """Return what may be said of a row, by word the fields that it names."""
    words: dict[str, set[str]] = {}
    for name in FIELDS:
        for word in setting.more.values() if name == "more" else [str(getattr(setting, name))]:
            if word:
                words.setdefault(word, set()).add(name)
    return words


def _chosen(rows: Sequence[Side], text: str, results: Path) -> tuple[list[Side], set[str]]:
    """Return the rows that a text names, and the fields that it names."""
    by_id = [row for row in rows if len(text) >= 6 and row.spec_id.startswith(text)]
    if by_id:
        return by_id, set(FIELDS) if len(by_id) == 1 else set()
    if not text.strip() or not rows:
        why = "an empty text names no row" if rows else f"no finished training in {results}; try --results FOLDER"
        raise UsageError(f"compare {text or repr(text)}: {why}")
    said = [_words(row.setting) for row in rows]
    words = [text] if any(text in known for known in said) else text.split()
    found = [(row, known) for row, known in zip(rows, said, strict=True) if all(w in known for w in words)]
    if not found:
        everything = sorted({word for known in said for word in known})
        unknown = next((word for word in words if word not in everything), None)
        what = f"no row has {unknown!r}{nearest(unknown, everything)}" if unknown else "no row has all of these"
        raise UsageError(f"compare {text}: {what}; `bench report` shows the rows, leaderboard.csv their spec_id")
    return [row for row, _ in found], {name for _, known in found for word in words for name in known[word]}


def _matched(ours: tuple[list[Side], set[str]], theirs: tuple[list[Side], set[str]]) -> list[tuple[Side, Side]]:
    """Return the pairs of different rows that agree in all fields that neither side names."""
    named = set(FIELDS) if len(ours[0]) == len(theirs[0]) == 1 else ours[1] | theirs[1]
    pairs = []
    for mine in ours[0]:
        for other in theirs[0]:
            with_real = "gen" in named and mine.setting.baseline != other.setting.baseline
            open_to = named | OF_GENERATED if with_real else named
            alike = _values(mine.setting, open_to) == _values(other.setting, open_to)
            if alike and mine.spec_id != other.spec_id:
                pairs.append((mine, other))
    return pairs


def _shared(ours: Sequence[Side], theirs: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
    """Yield the rows that two folders share: by identity, else by what was run."""
    by_id = {row.spec_id: row for row in theirs}
    by_setting = {_values(row.setting): row for row in theirs}
    for row in ours:
        other = by_id.get(row.spec_id) or by_setting.get(_values(row.setting))
        if other:
            yield row, other


def _judged(groups: Sequence[Sequence[tuple[Side, Side]]]) -> list[Compared]:
    """Return each group of pairs with its mean difference and its verdict among all groups."""
    from ..statistics.families import holm, verdict

    found = [difference_of([(trainings_of(a.records), trainings_of(b.records)) for a, b in group]) for group in groups]
    adjusted = holm([None if estimate is None else estimate.p for estimate in found])
    return [
        Compared(*group[0], estimate, verdict(estimate, p), len(group))
        for group, estimate, p in zip(groups, found, adjusted, strict=True)
    ]


def _differences(ours: Side, theirs: Side) -> Iterator[str]:
    """Yield a line for each field, each stage's code and each fact of the environment that differs."""
    follows = OF_GENERATED if ours.setting.baseline or theirs.setting.baseline else set()
    for name in FIELDS:
        mine, other = _value(ours.setting, name), _value(theirs.setting, name)
        if mine != other and name not in follows:
            yield f"{name}: {_said(mine)} against {_said(other)}"
    codes = [{name: code for record in side.records for name, code in record.code.items()} for side in (ours, theirs)]
    for name in sorted(codes[0].keys() & codes[1].keys()):
        if codes[0][name] != codes[1][name]:
            yield f"the code behind {name}"
    if ours.environments != theirs.environments:
        yield from _surroundings(ours, theirs)


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{name} {word}" for name, word in value) or "nothing more"
    return "all" if value is None else str(value) or "none"


def _surroundings(ours: Side, theirs: Side) -> Iterator[str]:
    """Yield what differs between two environments; where a side has several or a file is gone, their names."""
    names = [ours.environments, theirs.environments]
    facts = [_facts(side, name) for side, name in zip((ours, theirs), names, strict=True)]
    if None in facts or facts[0] == facts[1]:
        yield f"environment: {', '.join(names[0])} against {', '.join(names[1])}"
        return
    mine, other = (dict(_flat(found)) for found in facts)
    changed = [name for name in sorted({*mine, *other}) if mine.get(name) != other.get(name)]
    for name in changed[:MOST_FACTS]:
        yield f"environment: {name} {mine.get(name, 'missing')} against {other.get(name, 'missing')}"
    if len(changed) > MOST_FACTS:
        yield f"environment: {len(changed) - MOST_FACTS} more facts differ, see environments/"


def _facts(side: Side, names: Sequence[str]) -> Any:
    if len(names) != 1 or not names[0].isalnum():
        return None
    try:
        return read_json(side.results / "environments" / f"{names[0]}.json")
    except (OSError, ValueError):
        return None


def _flat(facts: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(facts, Mapping):
        for key in facts:
            yield from _flat(facts[key], f"{name}.{key}" if name else str(key))
    else:
        yield name, str(facts)


def accuracies(compared: Compared) -> tuple[float | None, float | None]:
    """Return the mean accuracies of the two rows in percent, each over all its trainings."""
    both = [accuracy_of(trainings_of(side.records)) for side in (compared.ours, compared.theirs)]
    return (both[0].value if both[0] else None), (both[1].value if both[1] else None)
