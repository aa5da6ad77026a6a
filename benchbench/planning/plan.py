"""The plan: a request unfolded into cells, and the graph of steps that they share.

One generation feeds every architecture, augmentation and seed, so steps are made once per key; the leaves are the
training runs. Making a plan reads metadata and folders, imports no torch and runs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UsageError
from ..keys.code import harness_code
from ..machine import choose_device
from ..plugins import DatasetInfo
from ..plugins.catalog import catalog
from ..plugins.context import derive_seed
from . import subsets
from .cells import Generation, PlannedCell, Subset, Training, Transform, columns_of, label_of, make_cell
from .chains import check_order, counts_of, expand_augs, transforms_hint
from .design import USUAL_MIX, baseline_name, capped, control_names, fits, make_design, told
from .estimates import prior
from .options import Request
from .precision import choose_precision
from .resolved import (
    ResolvedPlugin,
    absent_models,
    check_foundation,
    check_needs,
    foundation_hash,
    resolve,
    with_hashed_paths,
)
from .spec import Spec, chain_text
from .splits import Splits
from .steps import KEPT, PROTOCOL, Step, digest, info_to_json

#: Generated images per real one when ``--n-syn`` is not given; the paper's 45 are section B.2.2's.
SYNTHETIC_PER_REAL = {"quick": 10, "paper": 45}
#: Most images that a metric compares; see METRIC_SHARE.
METRIC_IMAGES = 10_000


@dataclass(frozen=True)
class Plan:
    """Steps in an order that respects their inputs, the cells that need them, and lines about how often they train."""

    steps: dict[str, Step]
    cells: tuple[PlannedCell, ...]
    request: Request
    device: str
    warnings: tuple[str, ...]
    design: tuple[str, ...]


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
        self.precision = choose_precision(request.precision, self.device, request.preset)
        self.steps: dict[str, Step] = {}
        self.cells: dict[tuple[str, ...], PlannedCell] = {}
        self.subset_code = harness_code("benchbench.planning.subsets")
        self.warnings: list[str] = []
        self.told: list[str] = []
        self.files: dict[tuple[str, str], Any] = {}
        self.metrics = self._installed_metrics() if request.metric is None else self._asked_metrics(request.metric)

    def plan(self) -> Plan:
        for spec in self.request.data:
            data = self._checked("dataset", spec)
            # A dataset says what is wrong with its files better than the hashing of its folder would.
            info: DatasetInfo = data.plugin.info()
            self._plan_dataset(with_hashed_paths(data), info)
        if not self.cells:
            empty = [f"--{name}" for name in ("learner", "arch", "aug") if not getattr(self.request, name)]
            raise UsageError(f"{', '.join(empty) or 'the request'}: names nothing to train; the default suite has none")
        warnings, design = tuple(self.warnings), tuple(dict.fromkeys(self.told))
        return Plan(self.steps, tuple(self.cells.values()), self.request, self.device, warnings, design)

    def _asked_metrics(self, specs: Iterable[Spec]) -> list[ResolvedPlugin]:
        return list({resolved.text: resolved for resolved in (self._bind("metric", spec) for spec in specs)}.values())

    def _installed_metrics(self) -> list[ResolvedPlugin]:
        """Bind every usual metric; one that cannot work is left out under ``quick``: nobody asked for it by name."""
        metrics: list[ResolvedPlugin] = []
        for name in catalog().names("metric"):
            try:
                metrics += [bound for bound in [self._bind("metric", Spec(name))] if bound.plugin.usual]
            except UsageError as error:
                if self.request.preset == "paper":  # another column than the published one would be taken for it
                    raise type(error)(f"{error}; or leave metrics out with --metric none") from None
                self.warnings.append(f"metric {name} is left out: {error}")
        return metrics

    def _bind(self, kind: str, spec: Spec, info: DatasetInfo | None = None) -> ResolvedPlugin:
        """Bind a spec, check what it needs and read the content of the paths in it: the preflight of one plugin."""
        return with_hashed_paths(self._checked(kind, spec, info))

    def _warn(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)

    def _checked(self, kind: str, spec: Spec, info: DatasetInfo | None = None) -> ResolvedPlugin:
        resolved = resolve(kind, spec, self.request.preset, info)
        fetched = absent_models(resolved)
        warnings = check_needs(resolved, self.device, download=self.download)
        if fetched:  # what a model says of itself, now that it is here, may need another package or refuse the dataset
            resolved = resolve(kind, spec, self.request.preset, info)
            warnings = check_needs(resolved, self.device, download=self.download)
        for line in warnings:
            self._warn(line)
        if resolved.entry.file is not None:
            other = self.files.setdefault((kind, resolved.place), resolved.entry.file)
            if other != resolved.entry.file:
                raise UsageError(f"{spec.name}: another {kind} file is called {resolved.place} too; rename one of them")
        return resolved

    # -- one dataset -------------------------------------------------------------------------------------------------

    def _plan_dataset(self, data: ResolvedPlugin, info: DatasetInfo) -> None:
        request = self.request
        self.splits = Splits(data, info)
        self.tests: dict[str, list[Transform]] = {}
        self.untrained: set[tuple[str, str]] = set()
        self._enter(0)
        learners = [self._bind("learner", spec, info) for spec in request.learner]
        chains = self._chains(learners)
        real = [chain[-1].plugin.is_real for chain in chains]
        own_draws = max(learner.plugin.draws for learner in learners)
        self.design = make_design(request, info, own_draws, generates=not all(real), baseline=any(real))
        controls = [(self._bind("generator", Spec(name), info),) for name in control_names() if self.design.controls]
        controls = [chain for chain in controls if chain not in chains]
        augs = [tuple(self._bind("augmentation", link, info) for link in chain) for chain in expand_augs(request.aug)]
        self.several_augs = len(augs) > 1
        for learner, link in itertools.product(learners, itertools.chain.from_iterable(augs)):
            if "aug" in learner.plugin.axes:
                link.plugin.check_resolution(learner.plugin.train_resolution(info))
        architectures = {
            learner.text: learner.plugin.architectures(request.arch, info) if "arch" in learner.plugin.axes else (None,)
            for learner in learners
        }
        for n_syn in self.request.n_syn:
            if n_syn < len(info.classes):
                self.warnings.append(
                    f"--n-syn {n_syn}: fewer images than the {len(info.classes)} classes of {info.name}"
                )
        before = len(self.cells)
        for subset in self._subsets():
            for chain in chains:
                for generation in self._generations(chain, subset):
                    scores = self._score_steps(generation, subset)
                    for learner in learners:
                        self._train_cells(generation, subset, scores, learner, augs, architectures[learner.text])
            for (link,) in controls if self.design.has_controls(subset.draw) else ():
                fitting = self._generations((link,), subset) if fits(link.plugin, subset.rest, info) else ()
                for generation, learner in itertools.product(fitting, learners):
                    archs = self.design.archs_of_controls(architectures[learner.text])
                    self._train_cells(generation, subset, {}, learner, augs, archs)
        planned = [cell.setting for cell in itertools.islice(self.cells.values(), before, None)]
        self.told += told(planned, info)

    def _enter(self, draw: int) -> None:
        """Let the steps that are planned from now on read the images of a draw."""
        self.data, self.info = self.splits.of(draw)
        self.info_json = info_to_json(self.info)
        self.data_key = self._data_step()
        if self.data_key not in self.tests:
            self.tests[self.data_key] = self._test_transforms()

    def _chains(self, learners: Sequence[ResolvedPlugin]) -> list[tuple[ResolvedPlugin, ...]]:
        chains: list[tuple[ResolvedPlugin, ...]] = []
        for chain in self.request.gen:
            chains.append(tuple(self._bind("generator", link, self.info) for link in chain))
            check_order(chains[-1])
        if self.request.baseline and not any(chain[-1].plugin.is_real for chain in chains):
            chains.insert(0, (self._bind("generator", Spec(baseline_name()), self.info),))
        real = [chain for chain in chains if chain[-1].plugin.is_real]
        untrained = [learner.place for learner in learners if not learner.plugin.trains]
        if untrained and not real:
            names = ", ".join(untrained)
            raise UsageError(f"{names}: trains on no image and has the baseline row alone; omit --no-baseline")
        if len(untrained) == len(learners) and len(real) < len(chains):
            self.warnings.append(f"{', '.join(untrained)}: trains on no image; generators are left out")
            chains = real
        return sorted(chains, key=lambda chain: not chain[-1].plugin.is_real)

    def _test_transforms(self) -> list[Transform]:
        transforms = []
        for chain in self.request.test_transform or ((),):
            if not chain:
                transforms.append(Transform("-", None, None, None))
                continue
            if len(chain) > 1:
                raise UsageError(f"--test-transform {chain_text(chain)}: give one generator, not a chain")
            link = self._bind("generator", chain[0], self.info)
            if not link.plugin.is_transform or link.plugin.has_fit:
                raise UsageError(
                    f"--test-transform {link.name}: cannot transform test images one for one{transforms_hint()}"
                )
            transforms.append(Transform(link.text, link.sentence(), link.code("sample"), self._transform_step(link)))
        return transforms

    def _transform_step(self, link: ResolvedPlugin) -> str:
        body = self._base(link, "sample", None) | {"kind": "transform", "data": self.data_key, "split": "test"}
        body |= {"dataset_values": self.data.values("sample"), "preset": self.request.preset}
        body |= {"precision": self.precision.sampling, "seed": derive_seed("transform", self.info.name)}
        run = self._run(plugin=link.location(), inputs={"data": self.data_key})
        images = self.info.counts["test"]
        timing = f"sample {link.name} {digest([body['values'], body['foundations']])[:8]} {body['precision']}"
        guess = prior(link, "transform", images, self.info)
        label = f"transform test images by {link.text}"
        return self._add(Step("transform", label, body, run, (self.data_key,), timing, images, guess))

    def _subsets(self) -> Iterator[Subset]:
        request, info = self.request, self.splits.info
        wanted: list[tuple[int | None, int | None]] = [(shots, None) for shots in request.shots]
        wanted += [(None, n_real) for n_real in request.n_real]
        rule, group, subject = request.subset, info.group_size, self.splits.data.text
        sizes = (info.class_counts, info.classes)
        if rule != "balanced" and not wanted:
            raise UsageError(f"--subset {rule}: needs --n-real, the number of real images")
        if not wanted:
            wanted = [(info.quick_shots, None) if request.preset == "quick" else (None, capped(info))]
        for shots, n_real in wanted:
            count = subsets.check(*sizes, shots, n_real, subject, rule=rule, group_size=group)
            # Every draw of the whole set is the same set, but what is generated from it differs.
            for draw in range(self.design.trainings(sum(info.class_counts) - count)[0]):
                self._enter(draw)
                counts = self.info.class_counts
                taken = subsets.check(counts, info.classes, shots, n_real, subject, rule=rule, group_size=group)
                # The count of the first draw names the row, though splits of groups differ by a few images.
                yield Subset(shots, n_real, draw, count, sum(counts) - taken, rule, group)

    def _generations(self, chain: tuple[ResolvedPlugin, ...], subset: Subset) -> Iterator[Generation]:
        if chain[-1].plugin.is_real:
            yield Generation(chain, True, 0)
            return
        default = SYNTHETIC_PER_REAL[self.request.preset] * subset.count
        real = sum(self.info.class_counts) if subset.whole else subset.count
        for asked in self.request.n_syn or (None,):
            fit_keys: list[str] = []
            sample_keys: list[str] = []
            counts = counts_of(chain, subset.count, subset.rest, asked, default)
            for place, link in enumerate(chain):
                upstream = sample_keys[-1] if sample_keys else None
                items = counts[place - 1] if link.plugin.needs_upstream else real
                fitted = self._fit_steps(link, subset, upstream, items)
                fit_keys += fitted
                sample_keys.append(self._sample_step(link, subset, counts[place], fitted, upstream))
            yield Generation(chain, False, counts[-1], tuple(fit_keys), tuple(sample_keys))

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
        return {**base, **more}

    def _base(self, link: ResolvedPlugin, stage: str, subset: Subset | None) -> dict[str, Any]:
        """Return the part of a body that every step with a plugin shares."""
        body: dict[str, Any] = {
            "kind": stage,
            "name": link.name,
            "code": {"plugin": link.code(stage), "subsets": self.subset_code},
            "protocol": PROTOCOL,
            **link.content(stage),
        }
        if subset is not None:
            body |= {"data": self.data_key, "subset": subset.body(), "dataset_values": self.data.values(stage)}
            precision = self.precision.of(stage, forward_only=getattr(link.plugin, "fit_is_forward_only", False))
            body |= {"preset": self.request.preset, "precision": precision}
        return body

    def _data_step(self) -> str:
        # What was measured on the files enters by itself: a memory of it may be wrong where their hash is right.
        measured = ("mean", "std", "resolution", "classify_resolution", "generate_resolution")
        body = self._base(self.data, "data", None) | {"info": {name: self.info_json[name] for name in measured}}
        images = sum(self.info.counts.values())
        guess = prior(self.data, "data", images, self.info)
        timing = f"data {self.data.name}"
        return self._add(Step("data", f"read {self.data.text}", body, self._run(), (), timing, images, guess))

    def _fit_steps(self, link: ResolvedPlugin, subset: Subset, upstream: str | None, items: int) -> list[str]:
        if not link.plugin.has_fit:
            return []
        seed = derive_seed("generate", self.info.name, subset.draw, "fit")
        base = self._base(link, "fit", subset) | {"seed": seed, "upstream": upstream}
        keys = []
        shards = list(link.plugin.shards(items))
        for place, shard in enumerate(shards):
            body = base | {"shard": [shard.start, shard.stop], "count": items}
            run = self._run(plugin=link.location(), inputs={"data": self.data_key, "upstream": upstream})
            part = f" part {place + 1}/{len(shards)}" if len(shards) > 1 else ""
            label = f"fit {link.text}{self._where(subset)}{part}"
            inputs = tuple(key for key in (self.data_key, upstream) if key)
            timing = f"fit {link.name} {digest([body['values'], body['foundations']])[:8]} {body['precision']}"
            guess = prior(link, "fit", len(shard), self.info)
            keys.append(self._add(Step("fit", label, body, run, inputs, timing, len(shard), guess)))
        return keys

    def _sample_step(
        self, link: ResolvedPlugin, subset: Subset, n_syn: int, fitted: list[str], upstream: str | None
    ) -> str:
        seed = derive_seed("generate", self.info.name, subset.draw, "sample")
        body = self._base(link, "sample", subset) | {"seed": seed, "fit": fitted, "upstream": upstream, "n_syn": n_syn}
        body |= {"rest": subset.rest} if link.plugin.reads_rest else {}
        run = self._run(plugin=link.location(), inputs={"data": self.data_key, "fit": fitted, "upstream": upstream})
        inputs = tuple(key for key in (self.data_key, *fitted, upstream) if key)
        timing = f"sample {link.name} {digest([body['values'], body['foundations']])[:8]} {body['precision']}"
        guess = prior(link, "sample", n_syn, self.info)
        label = f"sample {link.text}{self._where(subset)}"
        return self._add(Step("sample", label, body, run, inputs, timing, n_syn, guess))

    def _score_steps(self, generation: Generation, subset: Subset) -> dict[str, str]:
        """Plan each metric. All generators are scored on one number of images, and so is the baseline: a distance
        grows as images get fewer. One that makes fewer is scored on what it makes, and tables say so; so is each where
        the metric compares all.

        The real baseline compares two disjoint parts of the real training images, so at most half of them.
        """
        total = sum(self.info.class_counts)
        n_syn = min(self.request.n_syn or (SYNTHETIC_PER_REAL[self.request.preset] * subset.count,))
        usual = min(n_syn, generation.n_syn or n_syn, max(total // 2, 1), METRIC_IMAGES)
        scores = {}
        for metric in self.metrics:
            images = (generation.n_syn or min(n_syn, max(total // 2, 1))) if metric.plugin.compares_all() else usual
            if images < (least := metric.plugin.least_images()):
                self._refuse_metric(f"{metric.name}: needs at least {least} images on each side; there are {images}")
                continue
            synthetic = generation.sample[-1] if generation.sample else None
            # The reference is the whole training part, whatever the subset; a baseline is the same for every subset.
            seed = derive_seed("score", self.info.name, subset.draw)
            body: dict[str, Any] = {"images": images, "synthetic": synthetic, "seed": seed}
            roles = {"synthetic": synthetic}
            if metric.plugin.has_reference:
                left_out = None if synthetic else {"images": images, "seed": seed}
                body["reference"] = roles["reference"] = self._reference_step(metric, left_out)
            what = "real against real" if synthetic is None else f"{generation.text}{self._where(subset)}"
            label = f"score {metric.name} of {what}"
            scores[metric.text] = self._metric_step("score", metric, label, images + total, body, roles)
        return scores

    def _reference_step(self, metric: ResolvedPlugin, left_out: dict[str, int] | None) -> str:
        """Plan what a metric knows of the real images alone; the baseline's are less those that are compared."""
        images = sum(self.info.class_counts) - (left_out["images"] if left_out else 0)
        body = {"left_out": left_out, "seed": derive_seed("reference", self.info.name), "preset": self.request.preset}
        label = f"prepare {metric.name} for {'real against real' if left_out else self.data.text}"
        return self._metric_step("reference", metric, label, images, body, {})

    def _metric_step(
        self,
        stage: str,
        metric: ResolvedPlugin,
        label: str,
        images: int,
        more: dict[str, Any],
        roles: dict[str, str | None],
    ) -> str:
        body = self._base(metric, stage, None) | {"data": self.data_key, "precision": "fp32"} | more
        roles = {"data": self.data_key, **roles}
        run = self._run(plugin=metric.location(), inputs=roles)
        guess = prior(metric, stage, images, self.info)
        # It may be quadratic in the images: what is learned is how much longer it takes than was guessed.
        by, units = ("guess", guess) if guess else ("images", images)
        timing = f"{stage} {metric.name} {digest(body['values'])[:8]} by {by}"
        return self._add(Step(stage, label, body, run, tuple(filter(None, roles.values())), timing, units, guess))

    def _refuse_metric(self, why: str) -> None:
        """Raise if the user named this metric; leave it out with a warning if it is only a default."""
        if self.request.metric is not None:
            raise UsageError(why)
        self._warn(f"metric {why}; it is left out")

    def _train_cells(
        self,
        generation: Generation,
        subset: Subset,
        scores: dict[str, str],
        learner: ResolvedPlugin,
        augs: list[tuple[ResolvedPlugin, ...]],
        architectures: Iterable[str | None],
    ) -> None:
        axes = learner.plugin.axes
        mixes: tuple[tuple[int, int], ...] = self.request.mix or (USUAL_MIX[self.request.preset],)
        if generation.is_real or "mix" not in axes:
            if not generation.is_real and any(all(mix) for mix in self.request.mix):
                self._warn(f"--mix: {learner.name} trains on one source; it sees generated images alone")
            mixes = ((1, 0),) if generation.is_real else ((0, 1),)
        elif generation.control == "half-real":
            mixes = ((0, 1),)  # with the whole beside it, it would be copies
        replicates = range(self.design.trainings(subset.rest)[1])
        if not learner.plugin.trains:  # no training image and no seed changes it: one row of no images
            if (learner.text, self.data_key) in self.untrained or not generation.is_real:
                return
            self.untrained.add((learner.text, self.data_key))
            draw = 0 if self.data is self.splits.data else subset.draw  # another split has other test images
            subset, replicates = Subset(0, None, draw, 0, sum(self.info.class_counts)), range(1)
        tests, further = self.tests[self.data_key], self.request.further()
        sweep = "" if generation.is_real or generation.control else self.request.swept
        for mix, aug, arch, test, more, replicate in itertools.product(
            mixes, augs if "aug" in axes else [()], architectures, tests, further, replicates
        ):
            self._add_cell(Training(generation, subset, learner, aug, arch, mix, test, replicate, more, sweep), scores)

    def _train_step(self, cell: Training) -> Step:
        generation, test = cell.generation, cell.test
        learner = cell.learner.for_training(cell.arch, self.info, cell.subset.count)
        synthetic = generation.sample[-1] if generation.sample and cell.mix[1] else None
        # Initialisation and data order never depend on the generator, so that methods are compared in pairs.
        seed = derive_seed("train", self.info.name, cell.subset.draw, cell.arch, PROTOCOL["version"], cell.replicate)
        body = self._base(learner, "train", cell.subset) | {
            "arch": cell.arch,
            "augs": [
                {"name": a.name, "code": a.code("train")}
                | {part: content for part, content in a.content("train").items() if content or part != "foundations"}
                for a in cell.aug
            ],
            "mix": list(cell.mix),
            "synthetic": synthetic,
            "seed": seed,
            "kept": KEPT,
        }
        if models := learner.plugin.foundations(cell.arch, self.info):
            body["foundations"] = learner.foundations | {name: self._foundation(name, learner) for name in models}
        if not cell.mix[0] or not learner.plugin.trains:
            body["subset"] = None  # the real images are not trained on; what they decided is in the synthetic key
        extra = {"test": test.key, "more": cell.more, "chosen_on": "validation" if cell.sweep else None}
        body |= {name: value for name, value in extra.items() if value}
        if self.device != "cpu":
            body["device"] = self.device  # augmentations and dropout draw there, from streams of its own
        run = self._run(
            plugin=learner.location(),
            augs=[link.location() for link in cell.aug],
            inputs={"data": self.data_key, "synthetic": synthetic, "test": test.key},
        )
        inputs = tuple(key for key in (self.data_key, synthetic, test.key) if key)
        where = self._where(cell.subset) if learner.plugin.trains else ""
        label = label_of(cell, where, self.several_augs)
        kind = digest([body["values"], body["augs"], self.info.name])[:8]
        timing = f"train {learner.name} {cell.arch} {kind} {body['precision']}"
        guess = prior(learner, "train", 0, self.info, cell.arch)
        return Step("train", label, body, run, inputs, timing, 1.0, guess)

    def _foundation(self, name: str, learner: ResolvedPlugin) -> str:
        """Return the content hash of a pretrained model that one architecture starts from."""
        check_foundation(name, learner, self.download)
        return foundation_hash(name)

    def _add_cell(self, training: Training, scores: dict[str, str]) -> None:
        step = self._train_step(training)
        settings = (self.request.preset, str(self.precision))
        cell = make_cell(training, step, self.splits.data, self.data_key, scores, settings)
        code = cell.code | {"subsets": self.subset_code}
        code |= {f"score {metric.text}": metric.code("score") for metric in self.metrics}
        bodies = [self.steps[key].body for key in scores.values()]
        references = {body["reference"] for body in bodies if "reference" in body}
        columns = {metric.text: columns_of(metric) for metric in self.metrics if metric.text in scores}
        cell = replace(
            cell, code=code, columns=columns, notes=tuple(self.info.notes), reference=tuple(sorted(references))
        )
        self.cells.setdefault((self._add(step), *training.generation.sample, *scores.values()), cell)

    def _where(self, subset: Subset) -> str:
        shots = f" {subset.shots}-shot" if subset.shots is not None else f" n={subset.n_real}" if subset.n_real else ""
        several = self.design.trainings(subset.rest)[0] > 1
        return f"{shots} {self.info.name}" + (f" draw {subset.draw + 1}" if several else "")
