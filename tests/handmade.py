"""Records made by hand for the tests of tables and reports."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from benchbench.plugins import Column
from benchbench.results.record import Cell, Cost, Provenance, Record, Result, pack_hits
from benchbench_plugins.metrics.fidelity import Fidelity

TEST_IMAGES = 200


def record(
    gen: str = "diffinv",
    *,
    correct: int = 150,
    arch: str = "resnet18",
    replicate: int = 0,
    draw: int = 0,
    code: str = "c1",
    created: str = "2026-01-02T03:04:05+00:00",
    environment: str = "e1",
    error: str | None = None,
    metrics: dict[str, dict[str, Any]] | None = None,
    spec_id: str | None = None,
    **cell: Any,
) -> Record:
    """Return a record with ``correct`` of 200 test images; keywords that are no argument are fields of its cell."""
    baseline = gen == "real"
    sentence = Cell(
        data="digits",
        gen=gen,
        mix="1:0" if baseline else "0:1",
        aug="default",
        learner="timm",
        arch=arch,
        n_real=50,
        n_syn=0 if baseline else 500,
        shots=5,
        draw=draw,
        replicate=replicate,
        seed=1000 * draw + replicate,
        preset="quick",
        baseline=baseline,
    )
    sentence = dataclasses.replace(sentence, **cell)
    identity = dataclasses.replace(sentence, draw=0, replicate=0, seed=0)
    share = correct / TEST_IMAGES
    result = Result(
        accuracy=share,
        best_on_test=min(1.0, share + 0.01),
        n_test=TEST_IMAGES,
        hits=pack_hits(np.arange(TEST_IMAGES) < correct),
        steps=400,
        images_seen=51200,
        parameters=11_173_962,
        curve=((200, 1.25, 0.5), (400, 0.5, None)),
        details={"lr": 0.1},
    )
    cost = Cost(
        fit_s=None if baseline else 60.0 + draw,
        sample_s=None if baseline else 30.0,
        train_s=12.0 + replicate,
        fit_images=None if baseline else 50,
        sample_images=None if baseline else 500,
        images_per_s={"train": 4000.0} if baseline else {"fit": 0.8, "sample": 16.0, "train": 4000.0},
        peak_memory_mib=900.0 + replicate,
        device="cpu",
    )
    if error is not None:
        cost = dataclasses.replace(cost, train_s=None, images_per_s={})
    return Record(
        key=hashlib.sha256(repr((sentence, code)).encode()).hexdigest(),
        spec_id=spec_id or hashlib.sha256(repr(identity).encode()).hexdigest()[:12],
        status="done" if error is None else "failed",
        error=error,
        cell=sentence,
        result=result if error is None else None,
        metrics={} if metrics is None else metrics,
        cost=cost,
        code={"fit": code, "train": "t1"},
        steps={"fetch": ["f" * 64], "train": ["0" * 64]},
        provenance=Provenance(environment, "0.1.0", created, ("a regenerated split",), {gen: "benchbench==0.1.0"}),
        metric_columns={name: columns_of(scores) for name, scores in (metrics or {}).items()},
    )


def columns_of(scores: dict[str, Any]) -> tuple[Column, ...]:
    """Return the columns that ``fidelity`` declares for an extractor, and one of the metric of another plugin."""
    if "fd" not in scores:
        return (Column("colour", "colour", 2, "more"),)
    metric = Fidelity()
    object.__setattr__(metric, "extractor", scores.get("extractor"))  # any, also one that does not exist
    return tuple(metric.columns())


def fidelity(fd: float, extractor: str = "glyphcnn-v1", n_score: int = 400) -> dict[str, dict[str, Any]]:
    """Return what a fidelity metric gives, beside a metric of another plugin."""
    shares = {"precision": 0.75, "recall": 0.5, "density": 0.9, "coverage": 0.625}
    numbers = {"fd": fd, "kd": fd / 100, "extractor": extractor, "n_score": n_score, "n_reference": 899}
    return {"fidelity": numbers | shares, "another": {"extractor": "elsewhere", "n_score": 1, "colour": 0.5}}


def small_study() -> list[Record]:
    """Return two architectures, three seeds for one, a failure, older code, two environments, one extractor."""
    real, ours = fidelity(3.125), fidelity(12.5)
    ours_again = [record(correct=150 + 4 * n, replicate=n, metrics=ours) for n in range(3)]
    old = record(correct=10, code="c0", created="2026-01-01T00:00:00+00:00", metrics=ours)
    return [
        *(record("real", correct=140 + 2 * n, replicate=n, metrics=real) for n in range(3)),
        *ours_again,
        old,
        record("real", correct=120, arch="vgg16", metrics=real),
        record(correct=110, arch="vgg16", metrics=ours, environment="e2"),
        record(arch="vgg16", mix="1:1", metrics=ours, error="RuntimeError: CUDA out of memory. Tried to ..."),
    ]
