"""``execute``: run one step and publish its artifact. Every executor calls this and nothing else.

The step is text, the artifact goes to the store, a small JSON comes back. A step that is already published, here or by
another process in the meantime, is not run again.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BenchError
from ..keys.code import CodeSource, fingerprint, harness_code
from ..planning import subsets
from ..planning.resolved import instantiate
from ..planning.steps import PROTOCOL, info_from_json, info_to_json
from ..plugins import Augmentation, Dataset, DatasetInfo, Generator, Learner, Metric, Task
from ..plugins.context import Context, Emit
from ..plugins.images import ImageSet
from ..results.answers import Answers
from ..results.reading import json_flaw
from ..results.record import plain
from ..statistics.overlap import DIGESTS, digests, shared_notes
from ..store.lock import Owner
from ..store.store import Store
from .chunks import GrowingSet
from .copies import in_dataset, in_training
from .parts import part_of
from .scoring import answer, images_to_classify, score, split_off
from .watch import Reader, Watch

SPLITS = ("train", "validation", "test")


def execute(step: Mapping[str, Any], store_root: str, emit: Emit) -> dict[str, Any]:
    """Run a step unless it is published, and return its outcome.

    Args:
        step: what :meth:`benchbench.planning.steps.Step.to_json` gives.
        store_root: folder of the store.
        emit: where progress goes.

    Returns:
        ``{"key", "status": "done" | "cached", "seconds", "peak_memory_mib"}``, or when another run works on the step
        for longer than the seconds of its item ``wait``, ``{"key", "status": "busy", "owner"}``. Without that item it
        waits for as long as that takes.

    Raises:
        Exception: whatever the plugin raises; nothing is published then.
    """
    store = Store(Path(store_root))
    key = str(step["key"])
    lock, wait = store.lock(key), step.get("wait")

    def waits(owner: Owner | None) -> None:
        if wait is None:
            emit({"what": "log", "text": f"waits for {owner or 'another run'}"})

    with lock.hold(waits, wait) as held:
        if store.check(key) is None:
            meta = store.meta(key)
            return {"key": key, "status": "cached", **{name: meta[name] for name in ("seconds", "peak_memory_mib")}}
        if not held:
            owner = lock.owner()
            return {"key": key, "status": "busy", "owner": owner and asdict(owner)}
        if step.get("again"):  # else nobody would know that it is under way here
            emit({"what": "log", "text": "the other run let go of it, this one works on it"})
        offline = os.environ.get("HF_HUB_OFFLINE")
        _fix_protocol(step["run"]["device"], _precision(step["body"]))
        _import_packages(step["run"])
        reset_peak_memory()
        folder = store.temporary(key)
        start, start_cpu = time.perf_counter(), time.process_time()
        if store.begun(key):
            emit({"what": "log", "text": "continues from what an earlier run left"})
        try:
            job = _Job(step, store, folder, emit)
            try:
                facts = _STAGES[step["stage"]](job)
            except Exception:
                job.watch.check()  # files that changed under the plugin are the better explanation
                raise
            job.watch.check()
            if job.context.facts:
                facts["facts"] = _kept(job.context.facts, step["label"])
            files = store.flushed(key, folder, _progress_of(emit))
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
        store.publish(key, folder, meta, files)
        return {"key": key, "status": "done", "seconds": meta["seconds"], "peak_memory_mib": meta["peak_memory_mib"]}


def _progress_of(emit: Emit) -> Callable[[int, int], None]:
    """Return what shows how many bytes of an artifact have their checksum: of 84 GB that takes minutes."""
    begun = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - begun > 1 and (now - last > 0.2 or done == total):
            last = now
            emit({"what": "progress", "label": "checksums", "done": done >> 20, "total": total >> 20, "unit": "MiB"})

    return report


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
        self.augs: list[Augmentation] = [instantiate(location) for location in self.run.get("augs", ())]
        self._refuse_other_code()
        scratch = store.scratch(step["key"])
        self.watch = self._watch(scratch)
        self.context = Context(
            seed=int(self.body.get("seed", 0)),
            folder=folder,
            scratch=scratch,
            info=self.info,
            device=self.run["device"],
            precision=_precision(self.body),
            preset=self.run["preset"],
            n_syn=int(self.body.get("n_syn", 0)),
            emit=emit,
            before_keeping=self.watch.before_keeping,
            fitted=tuple(store.path(key) for key in self.inputs.get("fit", ())),
        )
        if self.inputs.get("reference"):
            self.context.reference = store.path(self.inputs["reference"])
        if self.inputs.get("upstream"):
            self.context.upstream = ImageSet.load(store.path(self.inputs["upstream"]))

    def _input_keys(self) -> list[str]:
        single = [self.inputs.get(role) for role in ("data", "upstream", "synthetic", "test", "reference")]
        return [key for key in (*single, *self.inputs.get("fit", ())) if key]

    def _refuse_other_code(self) -> None:
        """A worker on another checkout would publish its own numbers under our key."""
        stage = "sample" if self.step["stage"] == "transform" else self.step["stage"]
        here = {"plugin": fingerprint(CodeSource.from_class(type(self.plugin)), stage)}
        here["subsets"] = harness_code("benchbench.planning.subsets")
        for name, planned in self.body["code"].items():
            if here.get(name) != planned:
                raise BenchError(f"the code of {self.body['name']} changed since the plan; run again")
        for aug, of_aug in zip(self.augs, self.body.get("augs", ()), strict=True):
            if fingerprint(CodeSource.from_class(type(aug)), "train") != of_aug["code"]:
                raise BenchError(f"the code of {of_aug['name']} changed since the plan; run again")

    def _watch(self, scratch: Path) -> Watch:
        """Compare all files that entered the key with the plan, and watch them from now on."""
        stage = "sample" if self.step["stage"] == "transform" else self.step["stage"]
        models = self.plugin.foundations(self.body["arch"], self.info) if stage == "train" else ()
        location = self.run["plugin"] if "plugin" in self.run else self.run["dataset"]
        readers = [Reader(location, self.body, stage, tuple(models))]
        for place, of_aug in zip(self.run.get("augs", ()), self.body.get("augs", ()), strict=True):
            readers.append(Reader(place, of_aug, stage))
        return Watch(readers, self.run["preset"], scratch)

    def real(self, split: str) -> ImageSet:
        """Return a part of the dataset."""
        return ImageSet.load(self.store.path(self.inputs["data"]) / split)

    def rows(self) -> NDArray[np.int64] | None:
        """Return which real training images this step may use, ``None`` for all."""
        wanted = self.body.get("subset")
        if not wanted:
            return None
        train = self.real("train")
        return subsets.select(train.labels, train.classes, dataset=self.info.name, **wanted)

    def subset(self) -> ImageSet:
        """Return the real training images that this step may use."""
        train, rows = self.real("train"), self.rows()
        return train if rows is None else part_of(train, rows, self.context.scratch)

    def rest(self) -> ImageSet:
        """Return the other real training images."""
        train, rows = self.real("train"), self.rows()
        outside = np.delete(np.arange(len(train)), np.arange(len(train)) if rows is None else rows)
        return part_of(train, outside, self.context.scratch)

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
    counts = {}
    if json.dumps(info_to_json(plugin.info())) != json.dumps(info_to_json(job.info)):  # asked before files were hashed
        raise BenchError(f"{job.info.name}: its files changed while the run was planned; run again")
    for split in SPLITS:
        part = plugin.load(split, job.context)
        if len(part) and (flaw := _unlike_declared(part, job.info)):
            raise BenchError(f"{job.info.name}: {split} has {flaw}")
        part.save(job.folder / split)
        hashing = functools.partial(job.context.progress, label=f"looking for copies in {split}", unit="part")
        counts[split] = len(part)
        np.save(job.folder / split / DIGESTS, digests(part, hashing), allow_pickle=False)
    if counts["train"] == 0 or counts["test"] == 0:
        raise BenchError(
            f"{job.info.name}: has {counts['train']} training and {counts['test']} test images; both are needed"
        )
    shared = in_dataset(job.folder, job.context)
    job.context.report(**shared)
    for note in shared_notes(shared):
        job.context.log(note)
    return {"images": sum(counts.values()), "counts": counts}


def _unlike_declared(part: ImageSet, info: DatasetInfo) -> str | None:
    """Return what a part of a dataset has that its ``info()`` does not say: labels would mean other classes."""
    if tuple(part.classes) != info.classes:
        return "other classes than info() says, or in another order"
    sides = part.images.shape[1:3]
    if sides != (info.resolution, info.resolution):
        return f"images of {'x'.join(map(str, sides))} px where info() says {info.resolution}"
    return None


def _fit(job: _Job) -> dict[str, Any]:
    plugin: Generator = job.plugin
    start, stop = job.body["shard"]
    job.context.shard = range(start, stop)
    plugin.fit(job.subset(), job.context)
    return {"images": stop - start}


def _sample(job: _Job) -> dict[str, Any]:
    plugin: Generator = job.plugin
    made = _growing(job)
    job.context.completed = made.finished
    if "rest" in job.body:
        job.context.rest = job.rest()
    parts = iter(plugin.sample(job.subset(), job.context))
    first = next(parts, None)
    # A plugin that does not skip what is done starts from the beginning, and its chunks replace the old ones.
    made.cut(job.context.skipped)
    for part in itertools.chain(() if first is None else (first,), parts):
        made.add(_checked(job, part), job.context.before_keeping)
    total = len(made)
    enough = 1 <= total <= job.context.n_syn if plugin.may_yield_fewer else total == job.context.n_syn
    if not enough:
        shutil.rmtree(job.context.scratch)  # the chunks cannot be continued, so the next run starts without them
        wanted = f"1 to {job.context.n_syn}" if plugin.may_yield_fewer else str(job.context.n_syn)
        raise BenchError(f"{job.body['name']}: made {total} images where {wanted} were asked for (n_syn)")
    made.finish(job.folder)
    return {"images": total, "sampled_before_kill": job.context.skipped}


def _growing(job: _Job) -> GrowingSet:
    """Return the images of this step, with what a killed run left of them."""
    progress = job.context.progress
    return GrowingSet(job.context.scratch, lambda files: progress(files, label="checking chunks", unit="chunk"))


def _checked(job: _Job, part: ImageSet) -> ImageSet:
    """Return a chunk; refuse images of another size, and labels that count other classes, before hours of them."""
    side = job.info.resolution
    if part.images.shape[1:3] != (side, side):
        size = "x".join(map(str, part.images.shape[1:3]))
        raise BenchError(f"{job.body['name']}: made images of {size} px where the dataset has {side}x{side}")
    if tuple(part.classes) != job.info.classes:
        raise BenchError(f"{job.body['name']}: made images of other classes than the dataset has, or in another order")
    return part


def _transform(job: _Job) -> dict[str, Any]:
    plugin: Generator = job.plugin
    given = job.real(job.body["split"])
    made = _growing(job)
    made.cut(0)
    for part in plugin.transform(given, job.context):
        made.add(_checked(job, part), job.context.before_keeping)
    total = made.finish(job.folder)
    if total != len(given):
        raise BenchError(f"{job.body['name']}: transformed {len(given)} images into {total} others")
    if (ImageSet.load(job.folder).labels != given.labels).any():
        raise BenchError(f"{job.body['name']}: transformed images have other labels, or come in another order")
    return {"images": total}


def _train(job: _Job) -> dict[str, Any]:
    learner: Learner = job.plugin
    real_share, synthetic_share = job.body["mix"]
    folder, validation = job.test_folder(), job.real("validation")
    task = Task(
        real=job.subset() if real_share else None,
        synthetic=job.synthetic() if synthetic_share else None,
        mix=(real_share, synthetic_share) if real_share and synthetic_share else None,
        validation=validation,
        test=images_to_classify(folder, validation if job.body.get("chosen_on") else None, job.context),
        info=job.info,
        arch=job.body["arch"],
        augmentations=tuple(job.augs),
        preset=job.run["preset"],
    )
    outcome = answer(learner, task, job.context, job.body["name"])
    labels = ImageSet.load(folder).labels  # read when the training is over
    chosen_on, outcome, task = split_off(outcome, task, len(labels))
    kept = Answers.of(outcome.probabilities, labels)
    kept.save(job.folder)
    result = asdict(score(outcome, task, labels)) | {"answers": kept.digest}
    if len(chosen_on):
        result["measures"]["validation_accuracy"] = float((chosen_on.argmax(axis=1) == validation.labels).mean())
    if learner.trains:
        result["details"] |= _copies(job, task)
    _write_json(job.folder / "outcome.json", _kept(result, job.body["name"]))
    return {"images": int(outcome.images_seen)}  # of NumPy, as sums are, it would be no JSON


def _copies(job: _Job, task: Task) -> dict[str, int]:
    """Return how many training images equal or nearly equal a test image, where there are such."""
    rows = None
    if task.real is not None:
        chosen = job.rows()
        rows = slice(None) if chosen is None else chosen
    synthetic = None if task.synthetic is None else job.store.path(job.inputs["synthetic"])
    found = in_training(job.store.path(job.inputs["data"]), rows, synthetic, job.context)
    return {name: count for name, count in found.items() if count}


def _reference(job: _Job) -> dict[str, Any]:
    metric: Metric = job.plugin
    real, left_out = job.real("train"), job.body["left_out"]
    if left_out:
        _, rest = subsets.disjoint_halves(real.labels, left_out["images"], left_out["seed"])
        real = part_of(real, rest, job.context.scratch)
    metric.reference(real, job.context)
    return {"images": len(real)}


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
    scores = metric.score(real, compared, job.context)
    if not isinstance(scores, Mapping):
        raise BenchError(f"{job.body['name']}: score must return a dictionary; got {type(scores).__name__}")
    _write_json(job.folder / "scores.json", _kept(scores, job.body["name"]))
    return {"images": len(compared)}


_STAGES: dict[str, Callable[[_Job], dict[str, Any]]] = {
    "data": _data,
    "fit": _fit,
    "sample": _sample,
    "transform": _transform,
    "train": _train,
    "reference": _reference,
    "score": _score,
}


def _kept(value: Any, subject: str) -> Any:
    """Return what a plugin gave as JSON that can be read again, as part of a record."""
    try:
        kept = _spelled(plain(value))
        flaw = json_flaw(kept)
    except RecursionError:
        flaw = "nested too deep"
    if flaw:
        raise BenchError(f"{subject}: a value that it gave cannot be kept: {flaw}")
    return kept


def _spelled(value: Any) -> Any:
    """Return JSON whose texts can be written: a byte of a file's name that is not UTF-8 is spelled out."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_spelled(name): _spelled(item) for name, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n", "utf-8")


def _precision(body: Mapping[str, Any]) -> str:
    return str(body.get("precision", "fp32"))  # a step that reads a dataset computes nothing


def _fix_protocol(device: str, precision: str = "fp32") -> None:
    """Set what the protocol fixes, without importing torch for a step that does not need it.

    On an accelerator kernels are the deterministic ones where torch has them; where it has none, as for the gradient of
    some attention, the step goes on with what there is.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a step never downloads: the preflight did
    threads = int(PROTOCOL["threads"])
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules or device == "cuda":
        import torch

        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        if device == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nobody reads it
            warnings.filterwarnings("ignore", message=".*determinis")


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
