"""What rows conclude: paired differences from their baseline, verdicts over a family, tie groups, means over networks.

A family holds all rows of one dataset, preset and test transform that have a baseline; the rows of each control are a
family of their own. The arithmetic is that of ``benchbench.statistics``, which is imported where it is called, since it
needs SciPy.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..planning.setting import Setting
from .trainings import RowTrainings, accuracy_of, difference_of, paired, spread_between

if TYPE_CHECKING:
    from ..statistics.designs import Spread
    from ..statistics.trainings import Estimate

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Trained:
    """One row: what was run, and its finished trainings, at least one."""

    setting: Setting
    trainings: RowTrainings


@dataclass(frozen=True)
class Conclusion:
    """What a difference from the baseline says.

    Attributes:
        difference: in percentage points over the trainings that both have; ``None`` where there is none.
        verdict: ``better``, ``worse``, ``no difference shown``, ``not enough trainings`` or ``""``.
        detectable: the true difference in points that such trainings find four times in five; ``None`` if unknown.
        compared: how many differences the verdict is corrected for.
        deviation: sample standard deviation of the differences of single trainings, in points; ``None`` for fewer than
            two trainings that both rows have.

    """

    difference: Estimate | None = None
    verdict: str = ""
    detectable: float | None = None
    compared: int = 0
    deviation: float | None = None


@dataclass(frozen=True)
class Mean:
    """One generator with one mixing against the baseline, averaged over architectures within each draw.

    Attributes:
        setting: what its rows share; ``arch`` is ``"-"``.
        archs: the architectures that have a difference, in the order of the rows.
        conclusion: of the mean; its family are the means of the rows' family.
        better, worse: how many of the architectures have that verdict by themselves.
        rows: ``spec_id`` of each row that it is over.
        share: of a generator, the part of the gain of as many further real images that its own gain is, over the
            architectures that those were tried with, and its interval; ``None`` where that gain is not shown.
        spread: where its variance comes from, ``None`` where nothing tells.

    """

    setting: Setting
    archs: tuple[str, ...]
    conclusion: Conclusion
    better: int
    worse: int
    rows: tuple[str, ...]
    share: tuple[float, float, float] | None = None
    spread: Spread | None = None


def conclusions(rows: Mapping[str, Trained]) -> dict[str, Conclusion]:
    """Return what each row says against the baseline of its setting, by ``spec_id``; none for a row without one."""
    pairs = baselines(rows)
    judged = _judged({spec_id: (rows[spec_id].setting, _difference(rows, [pair])) for spec_id, pair in pairs.items()})
    return {
        spec_id: dataclasses.replace(judged[spec_id], deviation=_deviation(rows, *pairs[spec_id]))
        if spec_id in judged
        else Conclusion()
        for spec_id in rows
    }


def difference_alone(rows: Mapping[str, Trained], spec_id: str) -> Conclusion:
    """Return the difference of a row that takes no part in a comparison: with its interval and without a verdict."""
    pair = baselines(rows).get(spec_id)
    if pair is None:
        return Conclusion()
    return Conclusion(_difference(rows, [pair]), deviation=_deviation(rows, *pair))


def means(rows: Mapping[str, Trained], found: Mapping[str, Conclusion]) -> tuple[Mean, ...]:
    """Return the mean over architectures of each generator and mixing, in the order of the rows.

    None where each architecture has a baseline on its draws, and no draw is that of all.

    Args:
        rows: by ``spec_id``.
        found: what :func:`conclusions` says of them.
    """
    pairs = baselines(rows)
    groups: dict[Setting, dict[str, str]] = {}
    for spec_id, conclusion in found.items():
        if conclusion.difference is not None:
            setting = rows[spec_id].setting
            groups.setdefault(dataclasses.replace(setting, arch="-"), {}).setdefault(setting.arch, spec_id)
    differences = {
        setting: (setting, _difference(rows, [pairs[spec_id] for spec_id in by_arch.values()]))
        for setting, by_arch in groups.items()
    }
    groups = {setting: by_arch for setting, by_arch in groups.items() if differences[setting][1] is not None}
    judged = _judged(differences)
    every = tuple(
        dataclasses.replace(
            _mean(setting, by_arch, judged[setting], found),
            spread=_spread(rows, [pairs[spec_id] for spec_id in by_arch.values()]),
        )
        for setting, by_arch in groups.items()
    )

    def with_share(mean: Mean) -> Mean:
        from ..statistics.shares import share_of

        whole = control_of(mean, every, "more-real")
        if mean.setting.control or whole is None or whole.conclusion.verdict != "better":
            return mean
        if whole.setting.mix != mean.setting.mix:  # another experiment
            return mean
        by_arch = groups[mean.setting]
        part = _difference(rows, [pairs[by_arch[arch]] for arch in whole.archs if arch in by_arch])
        gain = whole.conclusion.difference
        if part is None or gain is None or not set(whole.archs) <= set(mean.archs):
            return mean
        return dataclasses.replace(mean, share=share_of(part, gain))

    return tuple(map(with_share, every))


def _mean(setting: Setting, by_arch: Mapping[str, str], own: Conclusion, found: Mapping[str, Conclusion]) -> Mean:
    verdicts = [found[spec_id].verdict for spec_id in by_arch.values()]
    counts = verdicts.count("better"), verdicts.count("worse")
    return Mean(setting, tuple(by_arch), own, *counts, tuple(by_arch.values()))


def control_of(mean: Mean, means: Iterable[Mean], kind: str) -> Mean | None:
    """Return the control of a kind that goes with a mean: of its mixing if there is one, of about as many images."""
    same = [it for it in means if it.setting.control == kind and it.setting.comparable == mean.setting.comparable]
    it = mean.setting  # of further real images there may be fewer than of generated ones
    return min(same, key=lambda own: (own.setting.mix != it.mix, abs(own.setting.n_syn - it.n_syn)), default=None)


def ties(rows: Mapping[str, Trained]) -> dict[str, int | None]:
    """Return the tie group of each row among those that can be compared with it, by ``spec_id``; controls have none."""
    groups: dict[tuple[Hashable, ...], list[str]] = {}
    for spec_id, row in rows.items():
        if not row.setting.control:
            groups.setdefault(row.setting.comparable, []).append(spec_id)
    found: dict[str, int | None] = {}
    for spec_ids in groups.values():
        some = [rows[spec_id].trainings for spec_id in spec_ids]
        found |= zip(spec_ids, _ranked(some), strict=True)
    return found


def _ranked(rows: Sequence[RowTrainings]) -> list[int | None]:
    from ..statistics.families import tie_groups

    values = [None if estimate is None else estimate.value for estimate in map(accuracy_of, rows)]
    return tie_groups(values, lambda one, other: difference_of([(rows[one], rows[other])]))


def family(setting: Setting) -> tuple[Hashable, ...]:
    """Return what the rows of one family share."""
    return setting.data, setting.preset, setting.test, setting.control


def baselines(rows: Mapping[str, Trained]) -> dict[str, tuple[str, str]]:
    """Return each row that has a baseline with it, by ``spec_id``: the first baseline of its setting."""
    first: dict[tuple[Hashable, ...], str] = {}
    for spec_id, row in rows.items():
        if row.setting.baseline:
            first.setdefault(row.setting.comparable, spec_id)
    found = {spec_id: first.get(row.setting.comparable) for spec_id, row in rows.items()}
    return {
        spec_id: (spec_id, base)
        for spec_id, base in found.items()
        if base is not None and not rows[spec_id].setting.baseline
    }


def _difference(rows: Mapping[str, Trained], pairs: Iterable[tuple[str, str]]) -> Estimate | None:
    return difference_of([(rows[ours].trainings, rows[theirs].trainings) for ours, theirs in pairs])


def _spread(rows: Mapping[str, Trained], pairs: Iterable[tuple[str, str]]) -> Spread | None:
    return spread_between([(rows[ours].trainings, rows[theirs].trainings) for ours, theirs in pairs])


def _deviation(rows: Mapping[str, Trained], ours: str, theirs: str) -> float | None:
    mine, other, _ = paired(rows[ours].trainings, rows[theirs].trainings)
    found = [100 * float(hits.mean() - other[training].mean()) for training, hits in mine.items()]
    return statistics.stdev(found) if len(found) > 1 else None


def _judged(differences: Mapping[K, tuple[Setting, Estimate | None]]) -> dict[K, Conclusion]:
    """Return the conclusions of differences, corrected over those of one family."""
    from ..statistics.families import detectable, holm, verdict

    families: dict[tuple[Hashable, ...], list[K]] = {}
    for key, (setting, difference) in differences.items():
        if difference is not None:
            families.setdefault(family(setting), []).append(key)
    found = dict.fromkeys(differences, Conclusion())
    for keys in families.values():
        estimates = [estimate for key in keys if (estimate := differences[key][1]) is not None]
        adjusted = holm([estimate.p for estimate in estimates])
        count = sum(p is not None for p in adjusted)
        for key, estimate, p in zip(keys, estimates, adjusted, strict=True):
            least = detectable(estimate, max(count, 1))
            found[key] = Conclusion(estimate, verdict(estimate, p), least, count)
    return found
