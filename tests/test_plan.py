"""The plan: which steps there are, what they share, and what may enter their keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from toys import World

from benchbench.errors import MissingError, UsageError
from benchbench.planning import plan as planning
from benchbench.planning.options import make_request
from benchbench.planning.plan import Plan, make_plan
from benchbench.plugins.catalog import catalog, load
from benchbench.results.folder import read_records

STAGES = ("fit", "sample", "train")


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path / "plugins", tmp_path / "results")


def count(plan: Plan, stage: str) -> int:
    return sum(step.stage == stage for step in plan.steps.values())


def keys(plan: Plan, *stages: str) -> set[str]:
    return {key for key, step in plan.steps.items() if not stages or step.stage in stages}


def counts(plan: Plan) -> dict[str, int]:
    return {stage: count(plan, stage) for stage in ("data", "fit", "sample", "train", "score")}


def sentences(plan: Plan, name: str) -> list[object]:
    return [getattr(cell.setting, name) for cell in plan.cells]


# The graph


def test_one_generation_feeds_everything_that_learns(world):
    plan = world.plan(arch=["a", "b", "c"], learner=["toylearner", "toylearner:shift=1"], seeds=4)
    assert counts(plan) == {"data": 1, "fit": 1, "sample": 1, "train": 2 * 3 * 2 * 4, "score": 2}
    assert len(plan.cells) == 48
    ours = [cell for cell in plan.cells if not cell.setting.baseline]
    assert len({(cell.fit, cell.sample, tuple(cell.score.items())) for cell in ours}) == 1


def test_inputs_stand_before_what_needs_them(world):
    plan = world.plan(gen=["toygen:parts=3", "toygen+toyfilter"], arch="all", shots="2,4", draws=2)
    seen = set()
    for key, step in plan.steps.items():
        assert key == step.key
        assert seen.issuperset(step.inputs)
        seen.add(key)
    for cell in plan.cells:
        assert {key for every in cell.steps.values() for key in every} <= seen


def test_a_plan_of_nothing_is_refused():
    with pytest.raises(UsageError, match=r"^--aug: names nothing to train; the default suite has none$"):
        make_plan(replace(make_request({"data": "digits", "gen": "real", "arch": "resnet18"}), aug=()))


def test_shards_of_a_fit_are_steps_that_share_a_sample(world):
    plan = world.plan(gen="toygen:parts=3", baseline=False)
    shards = [step for step in plan.steps.values() if step.stage == "fit"]
    assert [step.body["shard"] for step in shards] == [[0, 8], [8, 16], [16, 24]]
    (sample,) = [step for step in plan.steps.values() if step.stage == "sample"]
    assert sample.body["fit"] == [step.key for step in shards]


def test_links_of_a_chain_have_their_own_steps(world):
    alone, chained = world.plan(gen="toygen"), world.plan(gen="toygen+toyfilter")
    assert counts(chained) == {"data": 1, "fit": 2, "sample": 2, "train": 2, "score": 2}
    assert keys(alone, "fit", "sample") < keys(chained, "fit", "sample")
    last = chained.steps[chained.cells[-1].sample[-1]]
    second = chained.steps[last.body["fit"][0]]
    assert second.body["upstream"] == last.body["upstream"] == chained.cells[-1].sample[0]
    assert sentences(chained, "gen") == ["real", "toygen.py+toyfilter.py"]


@pytest.mark.parametrize(
    ("gen", "told"),
    [
        ("toyfilter", "toyfilter.py: works on another generator's images; write generator+toyfilter.py"),
        ("toygen+toygen", "toygen.py: makes its own images and cannot follow toygen.py+"),
    ],
)
def test_chains_that_make_no_sense(world, gen, told):
    with pytest.raises(UsageError) as error:
        world.plan(gen=gen)
    assert str(error.value) == told


def test_a_learner_multiplies_by_its_own_axes_only(world):
    plan = world.plan(learner="toyplain", arch=["a", "b"], mix="0:1,1:1", aug=["default"], seeds=2)
    assert len(plan.cells) == 2 * 2
    assert set(sentences(plan, "arch")) == {"-"}
    assert set(sentences(plan, "aug")) == {"-"}
    assert set(sentences(plan, "mix")) == {"1:0", "0:1"}


def test_a_mix_that_a_learner_cannot_train_on_is_told(world):
    plan = world.plan(learner=["toyplain", "toylearner"], mix="1:1")
    assert plan.warnings == ("--mix: toyplain.py trains on one source; it sees generated images alone",)
    assert world.plan(learner="toyplain").warnings == ()


def test_the_baseline_is_planned_once_and_first(world):
    plan = world.plan(gen=["toygen", "toygen:level=3"], n_syn=[20, 40], mix="0:1,1:1", baseline=True)
    assert sentences(plan, "gen").count("real") == 1
    first = plan.cells[0].setting.to_json()
    assert first | {"seed": 0} == first | {
        "gen": "real",
        "baseline": True,
        "mix": "1:0",
        "n_syn": 0,
        "n_real": 24,
        "seed": 0,
    }
    assert len(plan.cells) == 1 + 2 * 2 * 2
    asked = world.plan(gen=["real", "toygen"])
    assert sentences(asked, "gen") == ["real", "toygen.py"]
    without = world.plan(baseline=False)
    assert sentences(without, "gen") == ["toygen.py"]
    assert count(without, "score") == 1


def test_the_same_request_twice_is_planned_once(world):
    once = world.plan(gen=["toygen"])
    twice = world.plan(gen=["toygen", "toygen", "toygen:level=2"])
    assert (list(once.steps), once.cells) == (list(twice.steps), twice.cells)


def test_every_generator_is_scored_on_the_same_number_of_images(world):
    plan = world.plan(gen=["toygen", "toygen:level=3", "toygen+toyfilter"], n_syn=[5, 9])
    scored = {step.body["images"] for step in plan.steps.values() if step.stage == "score"}
    assert scored == {5}
    halved = world.plan(n_syn=100)  # the real baseline needs two disjoint parts of the 24 real images
    assert {step.body["images"] for step in halved.steps.values() if step.stage == "score"} == {12}


def test_a_metric_may_compare_all_images_of_each_generator(world):
    """Beyond half of the 24 real images, which is all that the baseline has to compare, and beyond other rows."""
    plan = world.plan(gen=["toygen", "toygen+toyfilter"], n_syn=[5, 100], metric="toymetric:every=true")
    scored = [step.body for step in plan.steps.values() if step.stage == "score"]
    assert sorted(body["images"] for body in scored if body["synthetic"]) == [5, 5, 100, 100]
    assert {body["images"] for body in scored if not body["synthetic"]} == {5}
    alone = world.plan(n_syn=100, metric="toymetric:every=true")
    assert sorted(step.body["images"] for step in alone.steps.values() if step.stage == "score") == [12, 100]


def test_the_papers_preset_does_without_its_metric_only_when_told(world, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_INCEPTION_WEIGHTS", str(tmp_path / "gone.pth"))
    options = world.options() | {"metric": None, "preset": "paper"}
    with pytest.raises(MissingError) as caught:
        planning.make_plan(planning_request(options))
    told = str(caught.value)
    assert told.startswith("fidelity: not found: Inception weights of FID; looked for ")
    assert told.endswith("; or leave metrics out with --metric none")
    assert "\n" not in told
    assert count(planning.make_plan(planning_request(options | {"metric": ["none"]})), "score") == 0
    assert count(planning.make_plan(planning_request(options | {"preset": "quick"})), "score") == 4


def test_a_metric_for_which_there_are_too_few_images(world, monkeypatch):
    with pytest.raises(UsageError, match=r"^toymetric.py: needs at least 13 images on each side; there are 12"):
        world.plan(metric="toymetric:least=13")
    assert count(world.plan(metric="toymetric:least=12"), "score") == 2
    monkeypatch.setattr(load(catalog().get("metric", "memorisation")), "usual", False)
    options = world.options(data="toydata:per_class=3", n_syn=8) | {"metric": None}
    plan = planning.make_plan(planning_request(options))
    told = "metric fidelity: needs at least 6 images on each side; there are 4; it is left out"
    assert (plan.warnings, count(plan, "score")) == ((told,), 0)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("None", "columns failed: TypeError: 'NoneType' object is not iterable"),
        ("['fd']", "columns must return a list of Column; got 'fd'"),
        ("[Column(3, 'three')]", "columns failed: ValueError: a column needs a key and a title, two texts"),
        ("[Column('', 'nothing')]", "columns failed: ValueError: a column needs a key and a title, two texts"),
        ("[Column('error', 'E')]", "columns must not call a number 'error'"),
    ],
)
def test_columns_of_another_form_are_said_before_a_step_runs(world, columns, words):
    text = (world.folder / "toymetric.py").read_text("utf-8")
    wrong = f"    def columns(self):\n        from benchbench.plugins import Column\n        return {columns}\n"
    (world.folder / "toycolumns.py").write_text(f"{text}\n{wrong}", "utf-8")
    with pytest.raises(UsageError, match=rf"^toycolumns.py: {words}"):
        world.plan(metric="toycolumns")


def test_no_metric_means_no_score(world):
    assert count(world.plan(metric="none"), "score") == 0


def test_the_default_number_of_generated_images_follows_the_real_ones(world):
    assert sentences(world.plan(n_syn=None, shots="2,5"), "n_syn") == [0, 60, 0, 150]
    assert sentences(world.plan(n_syn=None, preset="paper"), "n_syn") == [0, 45 * 24]


def test_too_many_shots(world):
    with pytest.raises(UsageError, match=r"^toydata.py: --shots=9: class 'dark' has 8 training images; give at most 8"):
        world.plan(shots=9)


def test_the_paper_preset_caps_the_images_of_a_class(world):
    capped = world.plan(data="toydata:cap=5", preset="paper", n_syn=20)
    assert sentences(capped, "n_real") == [15, 15]
    assert capped.steps[capped.cells[-1].fit[0]].body["subset"] == {"shots": None, "n_real": 15, "draw": 0}
    assert sentences(world.plan(data="toydata:cap=5"), "n_real") == [24, 24], "quick has no cap"
    assert sentences(world.plan(data="toydata:cap=5", preset="paper", shots=8), "n_real") == [24, 24]
    roomy = world.plan(data="toydata:cap=8", preset="paper")
    assert roomy.steps[roomy.cells[-1].fit[0]].body["subset"] is None, "a cap that nothing reaches is no subset"


def test_the_authors_groups(world):
    plan = world.plan(data="toydata:group=6", n_real=12, subset="groups")
    wanted = {"shots": None, "n_real": 12, "draw": 0, "rule": "groups", "group_size": 6}
    assert plan.steps[plan.cells[-1].fit[0]].body["subset"] == wanted
    assert set(sentences(plan, "subset")) == {"groups"}
    balanced = world.plan(data="toydata:group=6", n_real=12)
    assert set(sentences(balanced, "subset")) == {"balanced"}
    assert balanced.cells[0].spec_id != plan.cells[0].spec_id
    assert not keys(plan, "fit", "train") & keys(balanced, "fit", "train")
    with pytest.raises(UsageError, match=r"^--subset groups: needs --n-real"):
        world.plan(data="toydata:group=6", subset="groups")


def test_a_learner_that_does_not_train_has_one_cell_of_no_images(world):
    plan = world.plan(learner=["toyplain", "toyzero"], shots="2,4", draws=2, seeds=3)
    (zero,) = [cell for cell in plan.cells if "toyzero" in cell.setting.learner]
    told = {name: getattr(zero.setting, name) for name in ("gen", "shots", "n_real", "draw", "replicate")}
    assert told == {"gen": "real", "shots": 0, "n_real": 0, "draw": 0, "replicate": 0}
    assert plan.steps[zero.train].body["subset"] is None
    assert plan.steps[zero.train].label == "train toyzero.py on real, seed 1"


def test_nothing_is_generated_for_learners_that_do_not_train(world):
    plan = world.plan(learner="toyzero")
    assert counts(plan) == {"data": 1, "fit": 0, "sample": 0, "train": 1, "score": 1}
    assert plan.warnings == ("toyzero.py: trains on no image; generators are left out",)
    for learners in ("toyzero", ["toyplain", "toyzero"]):
        with pytest.raises(UsageError, match=r"^toyzero.py: trains on no image and has the baseline row alone; omit -"):
            world.plan(learner=learners, baseline=False)


def test_an_augmentation_is_checked_also_where_no_learner_uses_it(world):
    with pytest.raises(UsageError, match=r"^mixupp: unknown augmentation"):
        world.plan(learner="toyplain", aug="mixupp")


def test_what_a_model_needs_is_asked_again_once_it_is_here(world, tmp_path, monkeypatch):
    """Before it was fetched, nothing could know which package opens it; the training must not be what finds out."""
    hub = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))

    def fetch(name):
        folder = hub / "models--me--model"
        (folder / "snapshots" / "abc").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("abc")

    monkeypatch.setattr("benchbench.planning.resolved.download_foundation", fetch)
    request = planning_request(world.options(learner="toyhub"))
    with pytest.raises(UsageError, match=r"^toyhub.py: needs the package no_such_package, which is not installed"):
        planning.make_plan(request, download=True)


def test_what_an_architecture_starts_from_enters_its_own_key(world, tmp_path):
    folders = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.txt").write_text(name)
        folders.append(tmp_path / name)

    def trains(folder):
        plan = world.plan(learner=f"toystart:weights={folder}", arch="a,b", gen="real")
        return {cell.setting.arch: plan.steps[cell.train].body["foundations"] for cell in plan.cells}

    one, two = map(trains, folders)
    assert one["a"] == two["a"] == {}
    assert one["b"] != two["b"]
    assert len(one["b"]) == 1
    with pytest.raises(UsageError, match=r"^toystart.py:weights=.*absent: no such file or folder"):
        trains(tmp_path / "absent")


# Seeds and draws


def test_a_training_seed_never_depends_on_the_generator(world):
    plan = world.plan(gen=["toygen", "toygen:strength=4", "toygen+toyfilter"], mix="0:1,1:1", arch="all", seeds=3)
    seeds: dict[tuple[object, ...], set[object]] = {}
    for cell in plan.cells:
        told = cell.setting.to_json()
        seeds.setdefault((told["arch"], told["replicate"]), set()).add(told["seed"])
    assert all(len(found) == 1 for found in seeds.values())
    assert len({seed for found in seeds.values() for seed in found}) == 2 * 3


def test_seeds_repeat_trainings_and_draws_repeat_everything(world):
    one = world.plan(shots=2)
    assert counts(world.plan(shots=2, seeds=3)) == counts(one) | {"train": 6}
    assert counts(world.plan(shots=2, draws=3)) == {"data": 1, "fit": 3, "sample": 3, "train": 6, "score": 6}
    # The whole set has one subset, but several generations of it.
    assert counts(world.plan(draws=3)) == {"data": 1, "fit": 3, "sample": 3, "train": 6, "score": 6}
    first = {cell.train for cell in world.plan(shots=2, draws=3).cells}
    assert {cell.train for cell in one.cells} < first, "a later draw must not change the first one"


def test_the_usual_draws_of_a_learner_are_for_few_real_images_alone(world, monkeypatch):

    def draws(**options):
        return len({cell.setting.draw for cell in world.plan(**{"gen": "real", "shots": "2", **options}).cells})

    monkeypatch.setattr(load(catalog().get("learner", world.file("toylearner"))), "draws", 3)
    assert draws() == 3
    assert draws(draws=2) == 2
    assert draws(gen="toygen") == 1, "every draw would be another generation"
    assert draws(shots=None, preset="paper") == 1, "all images are the same images in every draw"


def test_what_a_training_needs_depends_on_the_baseline_and_never_on_the_row(world, monkeypatch):
    """Rows of generated images, of both and of the baseline get what the real images of the baseline ask for."""
    asked = []

    def for_training(self, arch, info, n_real):
        asked.append((arch, n_real))
        return replace(self, shift=float(n_real))

    monkeypatch.setattr(load(catalog().get("learner", world.file("toylearner"))), "for_training", for_training)
    plan = world.plan(gen="toygen", shots="2,4", n_syn="5,90", mix="0:1,1:1", arch="all")
    assert set(asked) == {("a", 6), ("b", 6), ("a", 12), ("b", 12)}, "images of three classes"
    by_key = {key: step for key, step in plan.steps.items() if step.stage == "train"}
    assert len(by_key) == 2 * 2 * (1 + 2 * 2)
    for cell in plan.cells:
        step = by_key[cell.train]
        assert step.body["values"] == {"shift": float(cell.setting.n_real)}
        assert step.run["plugin"]["values"]["shift"] == float(cell.setting.n_real)
        assert cell.setting.learner == "toylearner.py", "tables show what the user asked for"
    alone = {cell.train for cell in world.plan(gen="real", shots="2,4", arch="all").cells}
    assert alone < set(by_key), "another generator in the run retrains no baseline"


def test_a_draw_changes_subset_and_generation(world):
    plan = world.plan(shots=2, draws=2, baseline=False)
    fits = [step.body for step in plan.steps.values() if step.stage == "fit"]
    assert [body["subset"] for body in fits] == [
        {"shots": 2, "n_real": None, "draw": 0},
        {"shots": 2, "n_real": None, "draw": 1},
    ]
    assert fits[0]["seed"] != fits[1]["seed"]


# Keys


def test_a_sampling_parameter_does_not_refit(world):
    one, two = world.plan(gen="toygen:level=2"), world.plan(gen="toygen:level=5")
    assert keys(one, "data", "fit") == keys(two, "data", "fit")
    assert not keys(one, "sample") & keys(two, "sample")
    three = world.plan(gen="toygen:strength=2")
    assert not keys(one, "fit", "sample") & keys(three, "fit", "sample")


def test_a_parameter_of_the_dataset_may_matter_to_generators_only(world):
    one, two = world.plan(data="toydata"), world.plan(data="toydata:prompt=some {}")
    assert keys(one, "data", "fit") == keys(two, "data", "fit")
    assert not keys(one, "sample") & keys(two, "sample")


def test_where_it_runs_enters_the_key_of_a_training_alone(world, monkeypatch):
    """Augmentations and dropout draw on the device, which has streams of its own; everything else draws on the CPU."""
    here = world.plan(precision="fp32", device="cpu")
    monkeypatch.setattr("benchbench.machine.has_cuda", lambda: True)
    there = world.plan(precision="fp32", device="cuda")
    assert (here.device, there.device) == ("cpu", "cuda")
    trained = {key for key, step in here.steps.items() if step.stage == "train"}
    assert here.steps.keys() - there.steps.keys() == trained
    assert len(there.steps) == len(here.steps)
    assert [cell.spec_id for cell in here.cells] == [cell.spec_id for cell in there.cells]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert list(world.plan(device="cpu").steps) == list(here.steps)
    mixed = world.plan(precision="bf16")
    assert keys(mixed, "data") == keys(here, "data")
    assert not keys(mixed, "fit", "sample", "train") & keys(here, "fit", "sample", "train")


def test_metrics_are_computed_in_full_precision_wherever_they_run(world):
    plan = world.plan(precision="bf16")
    scores = [step for step in plan.steps.values() if step.stage == "score"]
    assert {step.body["precision"] for step in scores} == {"fp32"}


def test_the_papers_preset_samples_in_fp16_and_learns_in_fp32_on_an_accelerator(world, monkeypatch):
    def precisions(plan):
        return {step.stage: step.body["precision"] for step in plan.steps.values() if step.stage in STAGES}

    assert precisions(world.plan(preset="paper")) == {"fit": "fp32", "sample": "fp32", "train": "fp32"}
    monkeypatch.setattr("benchbench.machine.has_cuda", lambda: True)
    published, faster = world.plan(preset="paper"), world.plan(preset="paper", precision="bf16")
    assert precisions(published) == {"fit": "fp32", "sample": "fp16", "train": "fp32"}
    assert precisions(faster) == {"fit": "bf16", "sample": "bf16", "train": "bf16"}
    assert not {cell.spec_id for cell in published.cells} & {cell.spec_id for cell in faster.cells}


def test_a_fit_that_only_samples_computes_in_the_precision_of_sampling(monkeypatch):
    monkeypatch.setattr("benchbench.machine.has_cuda", lambda: True)
    options = {"gen": ["lecf", "diffinv"], "data": "digits", "arch": "shufflenetv2", "metric": ["none"]}
    plan = make_plan(make_request(options | {"precision": "fp16"}))
    fits = {step.body["name"]: step.body["precision"] for step in plan.steps.values() if step.stage == "fit"}
    assert fits == {"lecf": "fp16", "diffinv": "fp32"}


@pytest.mark.parametrize("fact", ["mean", "std", "classify_resolution"])
def test_what_was_measured_on_the_images_enters_every_key(world, monkeypatch, fact):
    """Also where the files are the same: what is remembered of them may be wrong."""
    before = world.plan()
    kind = load(catalog().get("dataset", world.file("toydata")))
    info = kind.info
    others = {"mean": (0.4,) * 3, "std": (0.4,) * 3, "classify_resolution": 8}
    monkeypatch.setattr(kind, "info", lambda self: replace(info(self), **{fact: others[fact]}))
    assert not before.steps.keys() & world.plan().steps.keys()


def test_a_protocol_that_changes_is_a_new_key(world, monkeypatch):
    before = world.plan()
    monkeypatch.setattr(planning, "PROTOCOL", {"version": 2, "threads": 1})
    assert not keys(before) & keys(world.plan())


def test_the_identity_of_a_sentence_ignores_draw_seed_and_code(world):
    plan = world.plan(shots=2, seeds=2, draws=2, arch="a")
    identities = {cell.setting.gen: set() for cell in plan.cells}
    for cell in plan.cells:
        identities[cell.setting.gen].add(cell.spec_id)
    assert [len(found) for found in identities.values()] == [1, 1]
    before = {cell.spec_id for cell in plan.cells}
    world.edit("toysample", "+ by", "+ by + 1")
    world.edit("toylearner", "0, 25", "0, 26")
    edited = world.plan(shots=2, seeds=2, draws=2, arch="a")
    assert {cell.spec_id for cell in edited.cells} == before
    assert not {cell.train for cell in plan.cells} & {cell.train for cell in edited.cells}


@pytest.mark.parametrize(
    "other",
    [
        {"gen": "toygen:level=3"},
        {"arch": "b"},
        {"mix": "1:1"},
        {"n_syn": 41},
        {"shots": 2},
        {"preset": "paper"},
        {"learner": "toylearner:shift=1"},
        {"data": "toydata:per_class=7"},
        {"precision": "bf16"},
    ],
)
def test_every_part_of_a_sentence_is_part_of_its_identity(world, other):
    one, two = world.plan(baseline=False), world.plan(baseline=False, **other)
    assert one.cells[0].spec_id != two.cells[0].spec_id
    assert one.cells[0].train != two.cells[0].train


# Places


def shapes(plan: Plan) -> str:
    """All that is kept of a plan: bodies, labels, sentences, notes; not what only travels to a worker."""
    steps = [{"body": step.body, "label": step.label, "timing": step.timing} for step in plan.steps.values()]
    cells = [vars(replace(cell)) for cell in plan.cells]
    return json.dumps([steps, cells], default=str)


def test_a_folder_counts_by_content_and_not_by_place(world, tmp_path):
    one, two = tmp_path / "here" / "model", tmp_path / "there" / "renamed"
    one.mkdir(parents=True)
    (one / "weights.txt").write_text("1 2 3")
    (one / "config.json").write_text("{}")
    before = world.plan(gen=f"toygen:model={one}")
    two.parent.mkdir()
    one.rename(two)
    moved = world.plan(gen=f"toygen:model={two}")
    assert list(before.steps) == list(moved.steps)
    assert [cell.spec_id for cell in before.cells] == [cell.spec_id for cell in moved.cells]
    assert str(tmp_path) not in shapes(before) + shapes(moved)
    assert sentences(before, "gen")[1].startswith("toygen.py:model=model@")
    assert sentences(moved, "gen")[1].startswith("toygen.py:model=renamed@")
    (two / "weights.txt").write_text("1 2 4")
    swapped = world.plan(gen=f"toygen:model={two}")
    assert not keys(moved, "fit", "sample") & keys(swapped, "fit", "sample")
    assert keys(moved, "data") == keys(swapped, "data")
    assert moved.cells[-1].spec_id != swapped.cells[-1].spec_id


def pictures(folder, shade=0):
    from PIL import Image

    for part in ("train", "test"):
        for place, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for number in range(3):
                color = (place * 100 + shade, number, len(part))
                Image.new("RGB", (16, 16), color).save(folder / part / name / f"{number}.png")


def test_a_dataset_folder_counts_by_content_and_not_by_place(world, tmp_path):
    options = world.options() | {"preset": "quick"}
    one, two = tmp_path / "a" / "pets", tmp_path / "b" / "animals"
    pictures(one)

    def plan(folder):
        return planning.make_plan(planning_request(options | {"data": f"folder:path={folder}"}))

    before = plan(one)
    two.parent.mkdir()
    one.rename(two)
    moved = plan(two)
    assert list(before.steps) == list(moved.steps)
    assert str(tmp_path) not in shapes(before) + shapes(moved)
    (two / "train" / "cat" / "0.png").write_bytes((two / "train" / "dog" / "0.png").read_bytes())
    assert not keys(moved) & keys(plan(two))


def planning_request(options):
    from benchbench.planning.options import make_request

    return make_request(options)


def test_folders_are_walked_once_for_a_thousand_cells(world, monkeypatch):
    from benchbench.planning import resolved as bound

    asked = []
    monkeypatch.setattr(bound, "hash_of", lambda path: asked.append(path) or "0" * 64)
    world.plan(gen=f"toygen:model={world.folder}", arch=[f"n{i}" for i in range(25)], seeds=20)
    assert len(asked) <= 3


# Plugins that nobody asked for


def test_a_broken_metric_that_nobody_named_stops_nothing(world, tmp_path, monkeypatch):
    from benchbench.plugins.catalog import Catalog, Entry, catalog

    broken = Entry("metric", "broken", "no_such_module:Metric", "odd-plugins", "1.0")
    known = Catalog([*catalog().entries(), broken])
    monkeypatch.setattr(planning, "catalog", lambda: known)
    monkeypatch.setattr("benchbench.planning.resolved.catalog", lambda: known)
    options = world.options()
    del options["metric"]
    plan = planning.make_plan(planning_request(options))
    assert set(plan.cells[0].score) == {"fidelity", "memorisation"}
    assert plan.warnings == (
        "metric broken is left out: broken: broken metric of odd-plugins: "
        "ModuleNotFoundError: No module named 'no_such_module'",
    )
    with pytest.raises(UsageError, match=r"^broken: broken metric of odd-plugins"):
        planning.make_plan(planning_request(options | {"metric": "broken"}))


def test_one_metric_with_two_settings_gives_two_scores(world):
    plan = world.plan(metric=["toymetric", "toymetric:scale=2", "toymetric"])
    assert set(plan.cells[0].score) == {"toymetric.py", "toymetric.py:scale=2"}
    assert len(set(plan.cells[0].score.values())) == 2


def test_the_committed_records_keep_their_identity():
    """A new run of the main job joins the rows of the old one: same settings, seeds and identities."""
    asked = {"gen": "diffinv", "data": "digits", "arch": "all", "metric": "none", "device": "cpu"}
    plan = make_plan(make_request(asked))
    planned = {(cell.setting, cell.spec_id) for cell in plan.cells}
    recorded = read_records(Path(__file__).parents[1] / "results" / "reference").records
    assert len(planned) == 42
    assert planned <= {(record.cell, record.spec_id) for record in recorded}


def test_a_costly_metric_waits_to_be_named(world):
    def metrics(asked: list[str] | None) -> set[str]:
        plan = make_plan(make_request({**world.options(), "metric": asked}))
        return {name for cell in plan.cells for name in cell.score}

    assert metrics(["agreement"]) == {"agreement"}
    assert "memorisation" in metrics(None)
    assert "agreement" not in metrics(None)
