"""``execute``: run one step and publish its artifact. Every executor calls this and nothing else.

The step is text, the artifact goes to the store, a small JSON comes back. A step that is already published, here or by
another process in the meantime, is not run again.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BenchError
from ..files import is_whole, one_step_folder
from ..keys.code import CodeSource, fingerprint, harness_code
from ..planning import subsets
from ..planning.resolved import instantiate
from ..planning.steps import PROTOCOL, info_from_json
from ..plugins import Augmentation, Dataset, Generator, Learner, Metric, Task
from ..plugins.context import Context, Emit
from ..plugins.images import Images, ImageSet, merge_shards
from ..results.record import plain
from ..statistics.overlap import DIGESTS, copies_of, digests, known_digests, shared_text, shared_with_test
from ..store.store import Store
from .parts import part_of
from .scoring import answer, score

SPLITS = ("train", "validation", "test")


def execute(step: Mapping[str, Any], store_root: str, emit: Emit) -> dict[str, Any]:
    """Run a step unless it is published, and return its outcome.

    Args:
        step: what :meth:`benchbench.planning.steps.Step.to_json` gives.
        store_root: folder of the store.
        emit: where progress goes.

    Returns:
        ``{"key", "status": "done" | "cached", "seconds", "peak_memory_mib"}``.

    Raises:
        Exception: whatever the plugin raises; nothing is published then.
    """
    store = Store(Path(store_root))
    key = str(step["key"])
    lock = store.lock(key)

    def tell(event: dict[str, Any]) -> None:
        lock.beat()
        emit(event)

    with lock.hold(lambda owner: emit({"what": "log", "text": f"waits for {owner or 'another run'}"})):
        if store.check(key) is None:
            meta = store.meta(key)
            return {"key": key, "status": "cached", **{name: meta[name] for name in ("seconds", "peak_memory_mib")}}
        offline = os.environ.get("HF_HUB_OFFLINE")
        _fix_protocol(step["run"]["device"])
        _import_packages(step["run"])
        reset_peak_memory()
        folder = store.temporary(key)
        start, start_cpu = time.perf_counter(), time.process_time()
        if store.begun(key):
            emit({"what": "log", "text": "continues from what an earlier run left"})
        try:
            job = _Job(step, store, folder, tell)
            facts = _STAGES[step["stage"]](job)
            if job.context.facts:
                facts["facts"] = plain(job.context.facts)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            if offline is None:  # what holds for a step must not hold for the next preflight of this process
                os.environ.pop("HF_HUB_OFFLINE", None)
        meta = {
            "stage": step["stage"],
            "label": step["label"],
            "body": step["body"],
            "seconds": round(time.perf_counter() - start, 3),
            "cpu_seconds": round(time.process_time() - start_cpu, 3),
            "peak_memory_mib": peak_memory_mib(),
            "device": step["run"]["device"],
            "environment": step["run"].get("environment", ""),
            **facts,
        }
        store.publish(key, folder, meta)
        return {"key": key, "status": "done", "seconds": meta["seconds"], "peak_memory_mib": meta["peak_memory_mib"]}


class _Job:
    """A step with what its stage needs: plugin, context, inputs."""

    def __init__(self, step: Mapping[str, Any], store: Store, folder: Path, emit: Emit) -> None:
        self.step, self.store, self.folder = step, store, folder
        self.body, self.run = step["body"], step["run"]
        self.inputs: Mapping[str, Any] = self.run.get("inputs", {})
        self.info = info_from_json(self.run["info"])
        for key in self._input_keys():
            if not store.has(key):
                raise BenchError(f"its input {key[:12]} is no longer in the store; run again")
        self.plugin = instantiate(self.run["plugin"] if "plugin" in self.run else self.run["dataset"])
        self._refuse_other_code()
        self.context = Context(
            seed=int(self.body.get("seed", 0)),
            folder=folder,
            scratch=store.scratch(step["key"]),
            info=self.info,
            device=self.run["device"],
            precision=self.run["precision"],
            preset=self.run["preset"],
            n_syn=int(self.body.get("n_syn", 0)),
            emit=emit,
            fitted=tuple(store.path(key) for key in self.inputs.get("fit", ())),
        )
        if self.inputs.get("upstream"):
            self.context.upstream = ImageSet.load(store.path(self.inputs["upstream"]))

    def _input_keys(self) -> list[str]:
        single = [self.inputs.get(role) for role in ("data", "upstream", "synthetic", "test")]
        return [key for key in (*single, *self.inputs.get("fit", ())) if key]

    def _refuse_other_code(self) -> None:
        """A worker on another checkout would publish its own numbers under our key."""
        stage = "sample" if self.step["stage"] == "transform" else self.step["stage"]
        here = {"plugin": fingerprint(CodeSource.from_class(type(self.plugin)), stage)}
        here["subsets"] = harness_code("benchbench.planning.subsets")
        for name, planned in self.body["code"].items():
            if here.get(name) != planned:
                raise BenchError(f"the code of {self.body['name']} changed since the plan; run again")

    def real(self, split: str) -> ImageSet:
        """Return a part of the dataset."""
        return ImageSet.load(self.store.path(self.inputs["data"]) / split)

    def subset(self) -> ImageSet:
        """Return the real training images that this step may use."""
        train = self.real("train")
        wanted = self.body.get("subset")
        if not wanted:
            return train
        chosen = subsets.select(train.labels, train.classes, dataset=self.info.name, **wanted)
        return part_of(train, chosen, self.context.scratch)

    def test_folder(self) -> Path:
        """Return the folder of the test images, transformed where the cell says so."""
        key = self.inputs.get("test")
        return self.store.path(key) if key else self.store.path(self.inputs["data"]) / "test"

    def synthetic(self) -> ImageSet | None:
        """Return the generated images, if any."""
        key = self.inputs.get("synthetic")
        return ImageSet.load(self.store.path(key)) if key else None


def _data(job: _Job) -> dict[str, Any]:
    plugin: Dataset = job.plugin
    counts, hashed = {}, {}
    for split in SPLITS:
        part = plugin.load(split, job.context)
        part.save(job.folder / split)
        counts[split], hashed[split] = len(part), digests(part)
    if counts["train"] == 0 or counts["test"] == 0:
        raise BenchError(
            f"{job.info.name}: has {counts['train']} training and {counts['test']} test images; both are needed"
        )
    np.save(job.folder / DIGESTS, hashed["test"], allow_pickle=False)
    shared = shared_with_test(hashed)
    job.context.report(**shared)
    if shared_note := shared_text(shared["test_in_train"], shared["test_in_validation"]):
        job.context.log(shared_note)
    return {"images": sum(counts.values()), "counts": counts}


def _fit(job: _Job) -> dict[str, Any]:
    plugin: Generator = job.plugin
    start, stop = job.body["shard"]
    job.context.shard = range(start, stop)
    plugin.fit(job.subset(), job.context)
    return {"images": stop - start}


def _sample(job: _Job) -> dict[str, Any]:
    plugin: Generator = job.plugin
    done = _finished_chunks(job.context.scratch)
    job.context.completed = len(done)
    parts: list[Path] = []
    for place, part in enumerate(plugin.sample(job.subset(), job.context)):
        # A plugin that does not skip what is done starts from the beginning, and its chunks replace the old ones.
        place += job.context.skipped
        parts.append(_save_chunk(part, job.context.scratch, place))
    parts = done[: job.context.skipped] + parts
    total = merge_shards(parts, job.folder)
    enough = 1 <= total <= job.context.n_syn if plugin.may_yield_fewer else total == job.context.n_syn
    if not enough:
        shutil.rmtree(job.context.scratch)  # the chunks cannot be continued, so the next run starts without them
        wanted = f"1 to {job.context.n_syn}" if plugin.may_yield_fewer else str(job.context.n_syn)
        raise BenchError(f"{job.body['name']}: made {total} images where {wanted} were asked for (n_syn)")
    _check_side(job)
    return {"images": total, "sampled_before_kill": sum(1 for _ in done[: job.context.skipped])}


def _check_side(job: _Job) -> None:
    merged = ImageSet.load(job.folder)
    side = job.info.resolution
    if merged.images.shape[1:3] != (side, side):
        size = "x".join(map(str, merged.images.shape[1:3]))
        raise BenchError(f"{job.body['name']}: made images of {size} px where the dataset has {side}x{side}")


def _transform(job: _Job) -> dict[str, Any]:
    plugin: Generator = job.plugin
    given = job.real(job.body["split"])
    parts = [_save_chunk(part, job.context.scratch, i) for i, part in enumerate(plugin.transform(given, job.context))]
    total = merge_shards(parts, job.folder)
    made = ImageSet.load(job.folder)
    if total != len(given) or (made.labels != given.labels).any():
        raise BenchError(f"{job.body['name']}: transformed {len(given)} images into {total} others; report this")
    _check_side(job)
    return {"images": total}


def _finished_chunks(scratch: Path) -> list[Path]:
    chunks: list[Path] = []
    while is_whole(folder := scratch / f"chunk-{len(chunks):06d}"):  # one that a power cut damaged is made again
        chunks.append(folder)
    return chunks


def _save_chunk(part: ImageSet, scratch: Path, place: int) -> Path:
    final = scratch / f"chunk-{place:06d}"
    with one_step_folder(final) as draft:
        part.save(draft)
    return final


def _train(job: _Job) -> dict[str, Any]:
    learner: Learner = job.plugin
    augs: list[Augmentation] = [instantiate(location) for location in job.run["augs"]]
    for aug, planned in zip(augs, job.body["augs"], strict=True):
        if fingerprint(CodeSource.from_class(type(aug)), "train") != planned["code"]:
            raise BenchError(f"the code of {planned['name']} changed since the plan; run again")
    real_share, synthetic_share = job.body["mix"]
    folder = job.test_folder()
    task = Task(
        real=job.subset() if real_share else None,
        synthetic=job.synthetic() if synthetic_share else None,
        mix=(real_share, synthetic_share) if real_share and synthetic_share else None,
        validation=job.real("validation"),
        test=Images.load(folder),
        info=job.info,
        arch=job.body["arch"],
        augmentations=tuple(augs),
        preset=job.run["preset"],
    )
    outcome = answer(learner, task, job.context, job.body["name"])
    result = asdict(score(outcome, task, ImageSet.load(folder).labels))  # labels are read when the training is over
    if learner.trains and (copies := _copies(job, task)):
        result["details"]["test_copies"] = copies
    _write_json(job.folder / "outcome.json", result)
    return {"images": int(outcome.images_seen)}  # of NumPy, as sums are, it would be no JSON


def _copies(job: _Job, task: Task) -> int:
    """Count training images that equal a test image; a real part that is known to share none is not read again."""
    facts = job.store.meta(job.inputs["data"]).get("facts", {})
    real = None if facts.get("test_in_train") == 0 else task.real
    known = known_digests(job.store.path(job.inputs["data"]), job.real("test"))
    return copies_of(known, (real, task.synthetic))


def _score(job: _Job) -> dict[str, Any]:
    metric: Metric = job.plugin
    train, images, seed = job.real("train"), int(job.body["images"]), job.context.seed
    scratch = job.context.scratch
    synthetic = job.synthetic()
    if synthetic is None:
        chosen, rest = subsets.disjoint_halves(train.labels, images, seed)
        real, compared = part_of(train, rest, scratch), part_of(train, chosen, scratch)
    else:
        images = min(images, len(synthetic))  # a filter may have left fewer than planned
        real = train
        compared = part_of(synthetic, subsets.balanced_sample(synthetic.labels, images, seed), scratch)
    scores = dict(metric.score(real, compared, job.context))
    _write_json(job.folder / "scores.json", scores)
    return {"images": len(compared)}


_STAGES: dict[str, Callable[[_Job], dict[str, Any]]] = {
    "data": _data,
    "fit": _fit,
    "sample": _sample,
    "transform": _transform,
    "train": _train,
    "score": _score,
}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(plain(value), sort_keys=True, indent=1, allow_nan=False) + "\n", "utf-8")


def _fix_protocol(device: str) -> None:
    """Set what the protocol fixes, without importing torch for a step that does not need it."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a step never downloads: the preflight did
    threads = int(PROTOCOL["threads"])
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules or device == "cuda":
        import torch

        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def _import_packages(run: Mapping[str, Any]) -> None:
    """Import what the plugin says it needs before the clock starts: seconds compare methods, not who comes first."""
    for package in instantiate(run["plugin"] if "plugin" in run else run["dataset"]).needs().packages:
        with contextlib.suppress(Exception):  # said by the plugin, where it is used
            importlib.import_module(package)


def reset_peak_memory() -> None:
    """Start measuring peak memory anew where the system lets a process do so (Linux)."""
    # Elsewhere the figure is the process's peak so far, which is never too small.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib() -> float:
    """Return the peak resident memory of this process in MiB since the last reset."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
