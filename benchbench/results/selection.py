"""Which setting of a sweep stands for its generator: the one that is best on the validation part, never on the test.

The choice is one for all architectures, by the mean accuracy on the validation part over architectures and trainings.
Settings that were not chosen are listed with their difference and get no verdict: they were not compared.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import UsageError
from ..planning.setting import Setting
from ..planning.spec import chain_text, parse_chain
from ..plugins.parameters import format_value

#: In ``Result.measures``: the share of the validation part that was classified rightly.
MEASURE = "validation_accuracy"


@dataclass(frozen=True)
class Choice:
    """What was decided about one row of a sweep.

    Attributes:
        chosen: whether its setting is the best on the validation part; of equal ones the first by spelling.
        among: how many settings there are.
        validation: mean accuracy of its setting on the validation part, in percent.

    """

    chosen: bool
    among: int
    validation: float


def choices(rows: Iterable[tuple[str, Setting, Mapping[str, float]]]) -> dict[str, Choice]:
    """Return what was decided, by ``spec_id``; a row that is no setting of a sweep is left out.

    Args:
        rows: ``spec_id``, setting, and means of the further numbers of a classifier by name.
    """
    groups: dict[Setting, dict[str, list[tuple[str, float]]]] = {}
    for spec_id, setting, measures in rows:
        if setting.sweep and MEASURE in measures:
            group = dataclasses.replace(setting, gen=_without(setting.gen, setting.sweep), arch="-")
            groups.setdefault(group, {}).setdefault(setting.gen, []).append((spec_id, measures[MEASURE]))
    found: dict[str, Choice] = {}
    for by_gen in groups.values():
        # A setting that failed with an architecture is compared with nothing that lacks none.
        most = max(map(len, by_gen.values()))
        means = {gen: 100 * statistics.fmean(share for _, share in known) for gen, known in sorted(by_gen.items())}
        best = max((gen for gen in means if len(by_gen[gen]) == most), key=lambda gen: means[gen])
        for gen, known in by_gen.items():
            found |= {spec_id: Choice(gen == best, len(by_gen), means[gen]) for spec_id, _ in known}
    return found


def _without(gen: str, names: str) -> str:
    """Return a chain's spelling without the swept parameters of its last link; a spelling that is none as it is."""
    try:
        *before, last = parse_chain(gen)
    except UsageError:  # of a record that somebody else wrote
        return gen
    kept = {key: format_value(value) for key, value in last.values.items() if key not in names.split(",")}
    return chain_text([*before, dataclasses.replace(last, values=kept)])
