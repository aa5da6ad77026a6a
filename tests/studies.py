"""Studies made by hand: several augmentations, architectures, shots and learners, for the tests of pivots and plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from handmade import record

from benchbench.results.record import Record

#: Accuracy in percent of the small studies: a formula that tells every cell from every other.
STEP = {"real": 0, "diffinv": 5, "lecf": 3}


def trainings(
    gens: Sequence[str] = ("real", "diffinv"),
    archs: Sequence[str] = ("resnet18",),
    augs: Sequence[str] = ("default",),
    shots: Sequence[int | None] = (5,),
    seeds: int = 2,
    **cell: Any,
) -> list[Record]:
    """Return records of every combination; two seeds differ by one percent, so that the deviation is 0.71."""
    found = []
    for gen in gens:
        for a, arch in enumerate(archs):
            for b, aug in enumerate(augs):
                for c, shot in enumerate(shots):
                    for seed in range(seeds):
                        places = {"aug": aug, "shots": shot, "n_real": 10 * (shot or c + 1)}
                        places["n_syn"] = 0 if gen == "real" else 10 * places["n_real"]
                        correct = 2 * (40 + STEP.get(gen, 1) + 10 * a + b + 7 * c + seed)
                        made = record(gen, arch=arch, correct=correct, replicate=seed, **(places | cell))
                        links = {f"aug {name}": "1" for name in ("default", *aug.split("+")) if aug != "-"}
                        found.append(dataclasses.replace(made, code={**made.code, **links}))
    return found


def few_shot() -> list[Record]:
    """Return two few-shot learners at five numbers of shots, and one that does not train."""
    places: dict[str, Any] = {"archs": ("-",), "augs": ("-",), "shots": (1, 2, 4, 8, 16)}
    still = record("real", arch="-", aug="-", learner="still", shots=0, n_real=0, correct=90)
    return [still, *trainings(learner="coop", **places), *trainings(learner="tip", **places)]
