"""Which setting of a sweep stands for its generator: the one that is best on the validation part, never on the test.

The choice is one for all architectures, by the mean accuracy on the validation part over the architectures, draws and
seeds that all settings were trained on.
Settings that were not chosen are listed with their difference and get no verdict: they were not compared.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..errors import UsageError
from ..planning.setting import Setting
from ..planning.spec import chain_text, parse_chain
from ..plugins.parameters import format_value

#: Draw and replicate.
Training: TypeAlias = tuple[int, int]
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


def choices(rows: Iterable[tuple[str, Setting, Mapping[Training, float]]]) -> dict[str, Choice]:
    """Return what was decided, by ``spec_id``; a row that is no setting of a sweep is left out.

    Args:
        rows: ``spec_id``, setting, and the share of the validation part that each training classified rightly.
    """
    groups: dict[Setting, dict[str, dict[str, tuple[str, Mapping[Training, float]]]]] = {}
    for spec_id, setting, shares in rows:
        if setting.sweep and shares:
            group = dataclasses.replace(setting, gen=_without(setting.gen, setting.sweep), arch="-")
            by_arch = groups.setdefault(group, {}).setdefault(setting.gen, {})
            by_arch[f"{setting.arch} {spec_id}" if setting.arch in by_arch else setting.arch] = spec_id, shares
    found: dict[str, Choice] = {}
    for by_gen in groups.values():
        # A setting that failed with an architecture is compared with nothing that lacks none.
        most = max(map(len, by_gen.values()))
        whole = [gen for gen in sorted(by_gen) if len(by_gen[gen]) == most]
        # One that was trained on more draws, or with other architectures, is compared over what all were trained on.
        shared = set.intersection(*(_places(by_gen[gen]) for gen in whole))
        means = {gen: 100 * _mean(by_arch, shared) for gen, by_arch in by_gen.items()}
        best = max(whole, key=lambda gen: means[gen])
        for gen, by_arch in by_gen.items():
            found |= {spec_id: Choice(gen == best, len(by_gen), means[gen]) for spec_id, _ in by_arch.values()}
    return found


def _places(by_arch: Mapping[str, tuple[str, Mapping[Training, float]]]) -> set[tuple[str, Training]]:
    return {(arch, training) for arch, (_, shares) in by_arch.items() for training in shares}


def _mean(by_arch: Mapping[str, tuple[str, Mapping[Training, float]]], shared: set[tuple[str, Training]]) -> float:
    """Return the mean over architectures of their means over the shared trainings, over all where none is shared."""
    some = [[share for at, share in shares.items() if (arch, at) in shared] for arch, (_, shares) in by_arch.items()]
    known = [shares for shares in some if shares] or [list(shares.values()) for _, shares in by_arch.values()]
    return statistics.fmean(map(statistics.fmean, known))


def _without(gen: str, names: str) -> str:
    """Return a chain's spelling without the swept parameters of its last link; a spelling that is none as it is."""
    try:
        *before, last = parse_chain(gen)
    except UsageError:  # of a record that somebody else wrote
        return gen
    kept = {key: format_value(value) for key, value in last.values.items() if key not in names.split(",")}
    return chain_text([*before, dataclasses.replace(last, values=kept)])
