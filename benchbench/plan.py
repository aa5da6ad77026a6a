"""The plan: a request unfolded into cells, and the graph of steps that they share.

One generation feeds every architecture, augmentation and seed, so steps are made once per key; the leaves are the
training runs. Making a plan reads metadata and folders, imports no torch and runs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from . import subsets
from .bound import Bound, bind, with_places
from .catalog import catalog, load
from .context import derive_seed
from .errors import UsageError
from .hardware import choose_device, choose_precision
from .plugins import DatasetInfo
from .preflight import check_needs
from .protocol import harness_code
from .request import Request
from .spec import Spec
from .steps import PROTOCOL, Step, digest, info_to_json

#: Generated images per real one when ``--n-syn`` is not given; the paper's 45 are section B.2.2's.
SYNTHETIC_PER_REAL = {"quick": 10, "paper": 45}
#: Most images that a metric compares; see METRIC_SHARE.
METRIC_IMAGES = 10_000


@dataclass(frozen=True)
class Cell:
    """One sentence of the benchmark with its training seed: a leaf of the plan.

    Attributes:
        sentence: the cell as records and tables show it.
        spec_id: hash of the sentence without draw, seed and code.
        train: key of the training step.
        data: key of the dataset's step.
        fit: keys of every ``fit`` shard behind it.
        sample: keys of every link's images behind it.
        score: key of each metric's step by the metric's spelling.
        code: fingerprint by stage.
        notes: facts about the dataset for the record.
    """

    sentence: dict[str, Any]
    spec_id: str
    train: str
    data: str
    fit: tuple[str, ...]
    sample: tuple[str, ...]
    score: dict[str, str]
    code: dict[str, str]
    notes: tuple[str, ...]

    @property
    def steps(self) -> dict[str, list[str]]:
        """Keys by stage."""
        return {
            "data": [self.data],
            "fit": list(self.fit),
            "sample": list(self.sample),
            "train": [self.train],
            "score": sorted(self.score.values()),
        }


@dataclass(frozen=True)
class Plan:
    """Steps in an order that respects their inputs, and the cells that need them."""

    steps: dict[str, Step]
    cells: tuple[Cell, ...]
    request: Request
    device: str
    warnings: tuple[str, ...]

    def needed_by(self, key: str) -> list[Cell]:
        """Return the cells that cannot be finished without a step."""
        return [cell for cell in self.cells if any(key in keys for keys in cell.steps.values())]


@dataclass(frozen=True)
class _Generation:
    """A chain of generators on one subset: its images, or the real subset itself."""

    chain: tuple[Bound, ...]
    is_real: bool
    n_syn: int
    fit: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Subset:
    """Which real training images a cell may use."""

    shots: int | None
    n_real: int | None
    draw: int
    count: int

    def body(self) -> dict[str, Any] | None:
        if self.shots is None and self.n_real is None:
            return None
        return {"shots": self.shots, "n_real": self.n_real, "draw": self.draw}


def make_plan(request: Request, *, download: bool = False) -> Plan:
    """Unfold a request.

    Args:
        request: what was asked for.
        download: fetch pretrained models that are not on this machine; their content is part of the keys.

    Raises:
        UsageError: an unknown plugin, parameter or architecture, a value out of range, a dataset that is wrong.
        MissingError: data, weights or a package that is not here.
    """
    return _Planner(request, download).plan()


class _Planner:
    def __init__(self, request: Request, download: bool) -> None:
        self.request, self.download = request, download
        self.device = choose_device(request.device)
        self.precision = choose_precision(request.precision, self.device)
        self.steps: dict[str, Step] = {}
        self.cells: dict[tuple[str, ...], Cell] = {}
        self.subset_code = harness_code("benchbench.subsets")
        self.warnings: list[str] = []
        self.files: dict[tuple[str, str], Any] = {}
        self.metrics = self._installed_metrics() if request.metric is None else self._asked_metrics(request.metric)

    def plan(self) -> Plan:
        for spec in self.request.data:
            data = self._checked("dataset", spec)
            # A dataset says what is wrong with its files better than the hashing of its folder would.
            info: DatasetInfo = data.plugin.info()
            self._plan_dataset(with_places(data), info)
        return Plan(self.steps, tuple(self.cells.values()), self.request, self.device, tuple(self.warnings))

    def _asked_metrics(self, specs: Iterable[Spec]) -> list[Bound]:
        return list({bound.text: bound for bound in (self._bind("metric", spec) for spec in specs)}.values())

    def _installed_metrics(self) -> list[Bound]:
        """Bind every metric there is; one that cannot work is left out, since nobody asked for it by name."""
        found = []
        for name in catalog().names("metric"):
            try:
                found.append(self._bind("metric", Spec(name)))
            except UsageError as error:
                self.warnings.append(f"metric {name} is left out: {error}")
        return found

    def _bind(self, kind: str, spec: Spec, info: DatasetInfo | None = None) -> Bound:
        """Bind a spec, check what it needs and read the content of the paths in it: the preflight of one plugin."""
        return with_places(self._checked(kind, spec, info))

    def _checked(self, kind: str, spec: Spec, info: DatasetInfo | None = None) -> Bound:
        bound = bind(kind, spec, self.request.preset, info)
        self.warnings += [
            line for line in check_needs(bound, self.device, download=self.download) if line not in self.warnings
        ]
        if bound.entry.file is not None:
            other = self.files.setdefault((kind, bound.place), bound.entry.file)
            if other != bound.entry.file:
                raise UsageError(f"{spec.name}: another {kind} file is called {bound.place} too; rename one of them")
        return bound

    # -- one dataset -------------------------------------------------------------------------------------------------

    def _plan_dataset(self, data: Bound, info: DatasetInfo) -> None:
        request = self.request
        self.data, self.info, self.info_json = data, info, info_to_json(info)
        self.data_key = self._data_step()
        chains = self._chains()
        learners = [self._bind("learner", spec, info) for spec in request.learner]
        augs = [tuple(self._bind("augmentation", link, info) for link in chain) for chain in request.aug]
        architectures = {
            learner.text: learner.plugin.architectures(request.arch, info) if "arch" in learner.plugin.axes else (None,)
            for learner in learners
        }
        for subset in self._subsets():
            for chain in chains:
                for generation in self._generations(chain, subset):
                    scores = self._score_steps(generation, subset)
                    for learner in learners:
                        self._train_cells(generation, subset, scores, learner, augs, architectures[learner.text])

    def _chains(self) -> list[tuple[Bound, ...]]:
        chains = []
        for chain in self.request.gen:
            links = tuple(self._bind("generator", link, self.info) for link in chain)
            for place, link in enumerate(links):
                if link.plugin.needs_upstream and place == 0:
                    raise UsageError(f"{link.name}: works on another generator's images; write generator+{link.name}")
                if not link.plugin.needs_upstream and place > 0:
                    raise UsageError(f"{link.name}: makes its own images and cannot follow {links[place - 1].name}+")
            chains.append(links)
        if self.request.baseline and not any(chain[-1].plugin.is_real for chain in chains):
            chains.insert(0, (self._bind("generator", Spec(_baseline_name()), self.info),))
        return sorted(chains, key=lambda chain: not chain[-1].plugin.is_real)

    def _subsets(self) -> Iterator[_Subset]:
        request, info = self.request, self.info
        wanted: list[tuple[int | None, int | None]] = [(shots, None) for shots in request.shots]
        wanted += [(None, n_real) for n_real in request.n_real]
        if not wanted:
            quick = info.quick_shots if request.preset == "quick" else None
            wanted = [(quick, None)]
        for shots, n_real in wanted:
            count = subsets.check(info.class_counts, info.classes, shots, n_real, self.data.text)
            # Every draw of the whole set is the same set, but what is generated from it differs.
            for draw in range(request.draws):
                yield _Subset(shots, n_real, draw, count)

    def _generations(self, chain: tuple[Bound, ...], subset: _Subset) -> Iterator[_Generation]:
        if chain[-1].plugin.is_real:
            yield _Generation(chain, True, 0)
            return
        default = SYNTHETIC_PER_REAL[self.request.preset] * subset.count
        for n_syn in self.request.n_syn or (default,):
            fit_keys: list[str] = []
            sample_keys: list[str] = []
            for link in chain:
                upstream = sample_keys[-1] if sample_keys else None
                fitted = self._fit_steps(link, subset, upstream)
                fit_keys += fitted
                sample_keys.append(self._sample_step(link, subset, n_syn, fitted, upstream))
            yield _Generation(chain, False, n_syn, tuple(fit_keys), tuple(sample_keys))

    # -- steps -------------------------------------------------------------------------------------------------------

    def _add(self, step: Step) -> str:
        self.steps.setdefault(step.key, step)
        return step.key

    def _run(self, **more: Any) -> dict[str, Any]:
        base = {
            "dataset": self.data.location(),
            "info": self.info_json,
            "device": self.device,
            "preset": self.request.preset,
        }
        return {**base, "precision": self.precision, **more}

    def _base(self, link: Bound, stage: str, subset: _Subset | None) -> dict[str, Any]:
        """Return the part of a body that every step with a plugin shares."""
        body: dict[str, Any] = {
            "kind": stage,
            "name": link.name,
            "values": link.values(stage),
            "code": {"plugin": link.code(stage), "subsets": self.subset_code},
            "protocol": PROTOCOL,
            "external": link.external,
            "foundations": link.foundations,
        }
        if subset is not None:
            body |= {"data": self.data_key, "subset": subset.body(), "dataset_values": self.data.values(stage)}
            body |= {"preset": self.request.preset, "precision": self.precision}
        return body

    def _data_step(self) -> str:
        body = self._base(self.data, "data", None)
        images = sum(self.info.counts.values())
        guess = self.data.plugin.seconds("data", images, self.info)
        timing = f"data {self.data.name}"
        return self._add(Step("data", f"read {self.data.text}", body, self._run(), (), timing, images, guess))

    def _fit_steps(self, link: Bound, subset: _Subset, upstream: str | None) -> list[str]:
        if not link.plugin.has_fit:
            return []
        base = self._base(link, "fit", subset) | {"seed": self._generation_seed(subset, "fit"), "upstream": upstream}
        keys = []
        shards = list(link.plugin.shards(subset.count))
        for place, shard in enumerate(shards):
            body = base | {"shard": [shard.start, shard.stop], "count": subset.count}
            run = self._run(plugin=link.location(), inputs={"data": self.data_key, "upstream": upstream})
            part = f" part {place + 1}/{len(shards)}" if len(shards) > 1 else ""
            label = f"fit {link.text}{self._where(subset)}{part}"
            inputs = tuple(key for key in (self.data_key, upstream) if key)
            timing = f"fit {link.name} {digest([body['values'], body['foundations']])[:8]} {self.precision}"
            guess = link.plugin.seconds("fit", len(shard), self.info)
            keys.append(self._add(Step("fit", label, body, run, inputs, timing, len(shard), guess)))
        return keys

    def _sample_step(self, link: Bound, subset: _Subset, n_syn: int, fitted: list[str], upstream: str | None) -> str:
        seed = self._generation_seed(subset, "sample")
        body = self._base(link, "sample", subset) | {"seed": seed, "fit": fitted, "upstream": upstream, "n_syn": n_syn}
        run = self._run(plugin=link.location(), inputs={"data": self.data_key, "fit": fitted, "upstream": upstream})
        inputs = tuple(key for key in (self.data_key, *fitted, upstream) if key)
        timing = f"sample {link.name} {digest([body['values'], body['foundations']])[:8]} {self.precision}"
        guess = link.plugin.seconds("sample", n_syn, self.info)
        label = f"sample {link.text}{self._where(subset)}"
        return self._add(Step("sample", label, body, run, inputs, timing, n_syn, guess))

    def _score_steps(self, generation: _Generation, subset: _Subset) -> dict[str, str]:
        """Plan each metric. All generators are scored on the number of images that the smallest set has, and so is
        the baseline: a distance grows as images get fewer.

        The real baseline compares two disjoint parts of the real training images, so at most half of them.
        """
        total = sum(self.info.class_counts)
        n_syn = min(self.request.n_syn or (SYNTHETIC_PER_REAL[self.request.preset] * subset.count,))
        images = min(n_syn, max(total // 2, 1), METRIC_IMAGES)
        scores = {}
        for metric in self.metrics:
            synthetic = generation.sample[-1] if generation.sample else None
            # The reference is the whole training part, whatever the subset; a baseline is the same for every subset.
            body = self._base(metric, "score", None) | {"data": self.data_key, "images": images, "synthetic": synthetic}
            body |= {"seed": derive_seed("score", self.info.name, subset.draw), "precision": "fp32"}
            run = self._run(plugin=metric.location(), inputs={"data": self.data_key, "synthetic": synthetic})
            run["precision"] = "fp32"
            inputs = tuple(key for key in (self.data_key, synthetic) if key)
            what = "real against real" if synthetic is None else f"{_chain_text(generation)}{self._where(subset)}"
            guess = metric.plugin.seconds("score", images + total, self.info)
            timing = f"score {metric.name} {digest(body['values'])[:8]}"
            step = Step("score", f"score {metric.name} of {what}", body, run, inputs, timing, images + total, guess)
            scores[metric.text] = self._add(step)
        return scores

    def _train_cells(
        self,
        generation: _Generation,
        subset: _Subset,
        scores: dict[str, str],
        learner: Bound,
        augs: list[tuple[Bound, ...]],
        architectures: Iterable[str | None],
    ) -> None:
        axes = learner.plugin.axes
        mixes: tuple[tuple[int, int], ...] = self.request.mix or ((0, 1),)
        if generation.is_real or "mix" not in axes:
            mixes = ((1, 0),) if generation.is_real else ((0, 1),)
        replicates = range(self.request.seeds)
        for mix, aug, arch, replicate in itertools.product(
            mixes, augs if "aug" in axes else [()], architectures, replicates
        ):
            step = self._train_step(generation, subset, learner, aug, arch, mix, replicate)
            self._add_cell(step, generation, subset, scores, learner, aug, arch, mix, replicate)

    def _train_step(
        self,
        generation: _Generation,
        subset: _Subset,
        learner: Bound,
        aug: tuple[Bound, ...],
        arch: str | None,
        mix: tuple[int, int],
        replicate: int,
    ) -> Step:
        synthetic = generation.sample[-1] if generation.sample and mix[1] else None
        # Initialisation and data order never depend on the generator, so that methods are compared in pairs.
        seed = derive_seed("train", self.info.name, subset.draw, arch, PROTOCOL["version"], replicate)
        body = self._base(learner, "train", subset) | {
            "arch": arch,
            "augs": [{"name": a.name, "values": a.values("train"), "code": a.code("train")} for a in aug],
            "mix": list(mix),
            "synthetic": synthetic,
            "seed": seed,
        }
        if not mix[0]:
            body["subset"] = None  # the real images are not trained on; what they decided is in the synthetic key
        run = self._run(
            plugin=learner.location(),
            augs=[link.location() for link in aug],
            inputs={"data": self.data_key, "synthetic": synthetic},
        )
        inputs = tuple(key for key in (self.data_key, synthetic) if key)
        what = f"{arch or learner.name} on {_chain_text(generation)}{self._where(subset)}"
        what += f", mix {mix[0]}:{mix[1]}" if all(mix) else ""
        what += f", {'+'.join(link.text for link in aug)}" if len(self.request.aug) > 1 else ""
        label = f"train {what}, seed {replicate + 1}"
        timing = (
            f"train {learner.name} {arch} {digest([body['values'], body['augs'], self.info.name])[:8]} {self.precision}"
        )
        guess = learner.plugin.training_seconds(arch, self.info)
        return Step("train", label, body, run, inputs, timing, 1.0, guess)

    def _add_cell(
        self,
        step: Step,
        generation: _Generation,
        subset: _Subset,
        scores: dict[str, str],
        learner: Bound,
        aug: tuple[Bound, ...],
        arch: str | None,
        mix: tuple[int, int],
        replicate: int,
    ) -> None:
        key = self._add(step)
        shared = {
            "preset": self.request.preset,
            "n_real": subset.count,
            "n_syn": generation.n_syn,
            "shots": subset.shots,
        }
        sentence = {
            **shared,
            "data": self.data.text,
            "gen": _chain_text(generation),
            "baseline": generation.is_real,
            "mix": f"{mix[0]}:{mix[1]}",
            "aug": "+".join(link.text for link in aug) or "-",
            "learner": learner.text,
            "arch": arch or "-",
            "draw": subset.draw,
            "replicate": replicate,
            "seed": step.body["seed"],
        }
        identity = shared | {
            "data": self.data.sentence() | {"external": self.data.external},
            "gen": [link.sentence() for link in generation.chain],
            "mix": list(mix),
            "aug": [link.sentence() for link in aug],
            "learner": learner.sentence(),
            "arch": arch,
            "precision": self.precision,
        }
        code = {"data": self.data.code("data"), "train": learner.code("train"), "subsets": self.subset_code}
        for link in generation.chain:
            stages = ("fit", "sample") if link.plugin.has_fit else ("sample",)
            code |= {f"{stage} {link.name}": link.code(stage) for stage in stages if not generation.is_real}
        code |= {f"aug {link.name}": link.code("train") for link in aug}
        code |= {f"score {metric.text}": metric.code("score") for metric in self.metrics}
        cell = Cell(
            sentence,
            digest(identity)[:16],
            key,
            self.data_key,
            generation.fit,
            generation.sample,
            scores,
            code,
            tuple(self.info.notes),
        )
        self.cells.setdefault((key, *generation.sample, *scores.values()), cell)

    def _generation_seed(self, subset: _Subset, stage: str) -> int:
        return derive_seed("generate", self.info.name, subset.draw, stage)

    def _where(self, subset: _Subset) -> str:
        shots = f" {subset.shots}-shot" if subset.shots is not None else f" n={subset.n_real}" if subset.n_real else ""
        return f"{shots} {self.info.name}" + (f" draw {subset.draw + 1}" if self.request.draws > 1 else "")


def _chain_text(generation: _Generation) -> str:
    return "+".join(link.text for link in generation.chain)


def _baseline_name() -> str:
    """Return the generator that stands for plain real images; the harness knows it by its promise, not its name."""
    own = __name__.partition(".")[0]  # what ships with the harness comes before a stranger's
    for entry in sorted(catalog().entries("generator"), key=lambda entry: entry.distribution != own):
        try:
            if getattr(load(entry), "is_real", False):
                return entry.name
        except UsageError:
            continue  # a broken plugin must not stop the others
    raise UsageError("no installed generator stands for real images; use --no-baseline")
