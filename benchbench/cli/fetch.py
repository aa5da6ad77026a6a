"""``bench fetch``: download a published dataset to where it is looked for."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import BenchError, MissingError
from ..planning.spec import parse_spec
from ..plugins.catalog import catalog, load, reason
from ..plugins.parameters import build
from .say import complain, say


def fetch(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME[:KEY=VALUE,...]", help="A dataset, or several; see `bench list dataset`."),
    ],
) -> None:
    """Download datasets to where `bench run` looks for them, and say where that is."""
    failed = 0
    for name in dict.fromkeys(names):
        try:
            lines = _fetch(name)
        except BenchError as error:
            if len(names) == 1:
                raise
            complain(str(error))  # the others may still be had
            failed = max(failed, error.exit_code)
        else:
            say(*lines)
    raise typer.Exit(failed)


def _fetch(text: str) -> list[str]:
    spec = parse_spec(text)
    dataset: Any = build(load(catalog().get("dataset", spec.name)), spec.values, subject=text)
    try:
        dataset.fetch()
    except BenchError as error:
        said = str(error)
        raise type(error)(said if said.startswith(spec.name) else f"{text}: {said}") from None
    except Exception as error:  # whatever a library's downloader raises
        by_hand = "".join(f"; by hand: {need.source}, to {need.path}" for need in dataset.needs().files)
        raise MissingError(f"{text}: could not be fetched: {reason(error)}{by_hand}") from error
    missing = [need for need in dataset.needs().files if not need.path.exists()]
    if missing:
        raise MissingError(f"{text}: fetched, and still not found: {missing[0].what}; looked for {missing[0].path}")
    info = dataset.info()
    counts = ", ".join(f"{name} {count:,}" for name, count in info.counts.items())
    lines = [f"{text}: {counts}, {len(info.classes)} classes", f"  licence  {info.licence}"]
    lines += [f"  files    {need.path}" for need in dataset.needs().files]
    return [*lines, *(f"  note     {note}" for note in info.notes)]
