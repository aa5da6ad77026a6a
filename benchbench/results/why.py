"""What ``bench why`` answers: which input of which step makes a cell differ from another run of the same sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..store.store import Store
from .folder import read_records
from .record import Record


def explain_cell(results: Path, prefix: str) -> dict[str, Any]:
    """Explain one recorded cell.

    Args:
        results: the results folder.
        prefix: the first digits of the key of its training step.

    Returns:
        ``{"key", "sentence", "steps", "other", "differences", "lines"}``; ``other`` is the key that it was compared
        with, the newest other record of the same sentence, draw and replicate, or ``None``.

    Raises:
        UsageError: no record or several match.
    """
    records, problems, _ = read_records(results)
    matching = [record for record in records if record.key.startswith(prefix.lower())]
    keys = {record.key for record in matching}
    if len(keys) != 1:
        many = (
            f"{len(keys)} cells match; give more digits"
            if keys
            else "no record has such a key; `bench plan --cells` shows keys"
            + (f" ({len(problems)} records cannot be read: `bench report` names them)" if problems else "")
        )
        raise UsageError(f"why {prefix}: {many}")
    record = matching[0]
    others = [item for item in records if item.key != record.key and _same_place(item, record)]
    other = max(others, key=lambda item: item.newness, default=None)
    store = Store(results / "artifacts")
    differences = list(_differences(record, other, store)) if other else []
    cell = record.cell
    arch = cell.learner if cell.arch == "-" else cell.arch
    lines = [
        f"{record.key[:12]}  {cell.gen} on {cell.data}, {arch}, {cell.aug}, mix {cell.mix}",
        f"  draw {cell.draw + 1}, seed {cell.replicate + 1}, {cell.n_real} real, {cell.n_syn} generated, {cell.preset}",
        f"  {record.status}, made {record.provenance.created}",
    ]
    for stage, step_keys in record.steps.items():
        for key in step_keys:
            state = "cached" if store.has(key) else "no longer cached"
            lines.append(f"  {stage:<7} {key[:12]}  {state}")
    if other is None:
        lines.append("no other run of this sentence is recorded, so nothing made it run again")
    else:
        lines.append(f"differs from {other.key[:12]} (made {other.provenance.created}) in:")
        lines += [f"  {line}" for line in differences] or [
            "  nothing that is still known; the other's artifacts are gone"
        ]
    return {
        "key": record.key,
        "sentence": cell.to_json(),
        "steps": {stage: list(step_keys) for stage, step_keys in record.steps.items()},
        "other": other.key if other else None,
        "differences": differences,
        "lines": lines,
    }


def _same_place(one: Record, two: Record) -> bool:
    return one.spec_id == two.spec_id and (one.cell.draw, one.cell.replicate) == (two.cell.draw, two.cell.replicate)


def _differences(record: Record, other: Record, store: Store) -> Iterator[str]:
    """Yield one line per differing input: of the code first, then of each step's body."""
    for name in sorted({*record.code, *other.code}):
        if record.code.get(name) != other.code.get(name):
            yield f"the code behind {name}"
    for stage, keys in record.steps.items():
        for mine, theirs in zip(keys, other.steps.get(stage, []), strict=False):
            if mine != theirs and store.has(mine) and store.has(theirs):
                yield from _compare(stage, store.meta(mine)["body"], store.meta(theirs)["body"])


def _compare(where: str, mine: Any, theirs: Any) -> Iterator[str]:
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for name in sorted({*mine, *theirs}):
            yield from _compare(f"{where}.{name}", mine.get(name), theirs.get(name))
    elif mine != theirs:
        yield f"{where}: {_short(mine)} now, {_short(theirs)} before"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}..."
