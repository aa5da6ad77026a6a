"""What a plan needs of a machine: computed from its images, printed, and refused where it cannot be met."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from limits import small_disk
from toys import OPTIONS, World, texts, write_toys

from benchbench import machine
from benchbench.cli import run_command
from benchbench.disk import size_text
from benchbench.errors import UsageError
from benchbench.machine import LIBRARIES, WORKER
from benchbench.planning import needs as needs_module
from benchbench.planning.needs import Needs
from benchbench.running import demand as demand_module
from benchbench.running.demand import demand
from benchbench.running.run import inspect
from benchbench.store.store import Store

GIB = 2**30
#: Bytes of a toy's image: 4 px, three colours.
IMAGE = 48


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return World(tmp_path / "plugins", tmp_path / "results")


@pytest.fixture
def room(monkeypatch):
    """Return a function that gives the images of a training other room than this machine has."""
    return lambda size: monkeypatch.setattr(needs_module, "training_room", lambda device: size)


def only(plan, stage, device="cpu"):
    needs = Needs(plan.steps, device)
    return [needs.of(step) for step in plan.steps.values() if step.stage == stage]


def of(world, **options):
    store = Store(world.results / "artifacts")
    return demand(inspect(world.plan(**options), store), store)


def test_disk_is_what_every_stage_leaves_of_images(world):
    plan = world.plan(n_syn=1000)
    images = {stage: [need.disk // IMAGE for need in only(plan, stage)] for stage in ("data", "fit", "sample", "train")}
    assert images == {"data": [24 + 12], "fit": [0], "sample": [1000], "train": [0, 0]}


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({}, [24, 1000]),
        ({"mix": "1:1"}, [24, 1024]),
        ({"mix": "1:1", "shots": 2}, [6, 1006]),
        ({"gen": "toygen+toyfilter"}, [24, 1000]),
        ({"gen": "real", "learner": "toyzero"}, [0]),
    ],
)
def test_a_training_holds_its_images_and_those_of_the_test(world, room, options, images):
    room(GIB)
    subset = options.get("shots", 0) * 3
    kept = only(world.plan(n_syn=1000, **options), "train")
    tests = 0 if options.get("learner") else 12
    held = [count + tests for count in images]
    copied = [subset if count < 1000 or "mix" in options else 0 for count in images]
    assert [need.images for need in kept] == [(a + b) * IMAGE for a, b in zip(held, copied, strict=True)]
    assert {need.memory for need in kept} == {WORKER}
    assert {need.accelerator for need in kept} == {0}


def test_what_a_training_has_no_room_for_is_streamed(world, room):
    room(100 * IMAGE)
    assert [need.images // IMAGE for need in only(world.plan(n_syn=1000), "train")] == [24 + 12, 100]
    assert [need.accelerator // IMAGE for need in only(world.plan(n_syn=1000), "train", "cuda")] == [36, 100]


def test_the_plan_says_which_trainings_read_from_the_disk(world, room):
    room(50 * IMAGE)
    assert [need.streamed // IMAGE for need in only(world.plan(n_syn=1000), "train")] == [0, 1012 - 50]
    found = of(world, n_syn=1000)
    assert (found.streamed, found.to_json()["streamed"]) == (1, 1)
    assert str(found).endswith(", 1 training reads its images from the disk")
    assert str(of(world, n_syn=1000, seeds=3)).endswith(", 3 trainings read their images from the disk")
    assert "from the disk" not in str(of(world, n_syn=10))


def test_large_images_make_a_worker_large(world, room):
    room(9 * GIB)
    many = 8 * GIB // IMAGE
    _, training = only(world.plan(n_syn=many), "train")
    assert training.memory == LIBRARIES + training.images
    assert training.images == (many + 12) * IMAGE


def test_a_few_real_images_are_copied_by_fit_and_sample(world):
    plan = world.plan(shots=2)
    assert [need.images for need in only(plan, "fit") + only(plan, "sample")] == [6 * IMAGE] * 2
    assert [need.images for need in only(world.plan(), "fit")] == [0]
    assert {need.images for need in only(plan, "score")} == {12 * IMAGE, 24 * IMAGE}, "and both halves of the real ones"


def test_what_a_plugin_declares_counts_and_a_mistake_in_it_does_not(world):
    code = (
        "\n    def needs(self):\n        from benchbench import Requirements as R\n        return R(memory_gib=MUCH)\n"
    )
    path = world.folder / "toygen.py"
    text = path.read_text()
    path.write_text(text + code.replace("MUCH", "3.0"))
    plan = world.plan()
    assert only(plan, "sample")[0].memory == 3 * GIB
    path.write_text(text + code.replace("MUCH", "1 / 0"))
    assert only(plan, "sample")[0].memory == WORKER


def test_the_side_is_that_of_the_learner(world):
    world.edit(
        "toylearner", "    def train(", "    def train_resolution(self, info):\n        return 8\n\n    def train("
    )
    assert only(world.plan(gen="real"), "train")[0].images == 36 * 4 * IMAGE


def test_what_is_there_is_not_counted_again(world):
    whole = of(world, n_syn=100)
    assert whole.disk == (36 + 100) * IMAGE
    assert str(whole).startswith(f"{size_text(whole.disk)} of disk (")
    store = Store(world.results / "artifacts")
    (sample,) = [key for key, step in world.plan(n_syn=100).steps.items() if step.stage == "sample"]
    (store.scratch(sample) / "chunk").write_bytes(bytes(20 * IMAGE))
    assert of(world, n_syn=100).disk == (36 + 80) * IMAGE
    (store.scratch(sample) / "more").write_bytes(bytes(200 * IMAGE))
    assert of(world, n_syn=100).disk == 36 * IMAGE, "what a checkpoint takes beside images is no image less"
    world.run(n_syn=100)
    done = of(world, n_syn=100)
    assert (done.disk, done.images, done.memory, done.refusal()) == (0, 0, 0, "")
    images = store.path(sample) / "images.npy"
    images.write_bytes(images.read_bytes()[:-1])
    store.discard(world.plan(n_syn=100).cells[-1].train)
    assert of(world, n_syn=100).disk == 0, "the damaged one makes room"


def test_decoded_images_on_the_same_disk_are_linked_and_on_another_one_may_lack_room(world, tmp_path, monkeypatch):
    decoded = tmp_path / "cache" / "decoded"
    (decoded / "entry").mkdir(parents=True)
    (decoded / "entry" / "images.npy").write_bytes(bytes(30 * IMAGE))
    assert of(world, gen="real").disk == 6 * IMAGE
    assert of(world, gen="real").warning == ""
    with small_disk(tmp_path / "disk", 4096) as disk:
        monkeypatch.setenv("BENCH_CACHE", str(disk))
        (disk / "ballast").write_bytes(bytes(4096))
        found = of(world, gen="real")
    assert found.disk == 36 * IMAGE
    assert found.warning == (
        f"{disk / 'decoded'}: 0 B are free and the decoded images may take 1.7 kB; "
        "what does not fit is kept in the results folder alone"
    )


def test_a_run_that_cannot_fit_is_refused_before_it_begins(world, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 2**22) as disk:
        world.results = disk / "results"
        monkeypatch.setenv("TOY_LOG", str(world.log))
        with pytest.raises(UsageError) as error:
            world.run(n_syn=100_000)
        free = size_text(of(world).free_disk)
        assert str(error.value) == (
            f"results folder {world.results}: 4.8 MB of images are to be written and {free} are free; "
            "choose another with --results, or fewer images (--n-syn)"
        )
        assert not world.log.exists()
        assert [record.status for record in world.run(n_syn=40)] == ["done", "done"]


MUCH = replace(demand_module.Demand("results", 1, None, "train a", 0, 0, None, 0, None), folder="./results")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({}, ""),
        ({"images": 9 * GIB, "free_memory": 9 * GIB, "free_disk": 1}, ""),
        (
            {"accelerator": 9 * GIB, "accelerator_memory": 8 * GIB},
            "--device cuda: the accelerator is too small: images of one step take 9.0 GiB and it has 8.0 GiB; "
            "leave out images=resident or ask for fewer images",
        ),
        (
            {"images": 9 * GIB, "free_memory": 8 * GIB},
            "train a: its images take 9.0 GiB of memory and 8.0 GiB are free; "
            "leave out images=resident or ask for fewer images",
        ),
    ],
)
def test_what_is_refused(more, why):
    assert replace(MUCH, **more).refusal() == why


@pytest.mark.parametrize(("images", "held"), [("auto", 100), ("resident", 36), ("streamed", 0)])
def test_a_learner_may_be_told_where_images_are(world, room, images, held):
    """``auto`` has room for all of them here; what is forced is refused where it does not fit."""
    room(100 * IMAGE if images != "resident" else 1)
    choice = f'    images: str = param("{images}", choices=("auto", "resident", "streamed"), help="Where.")\n'
    world.edit("toylearner", "    shift: float", f"{choice}    shift: float")
    assert only(world.plan(gen="real"), "train", "cuda")[0].accelerator == min(held, 36) * IMAGE


def test_a_copy_for_which_memory_has_no_room_passes_over_the_disk(world, room):
    room(1000 * IMAGE)
    fit = only(world.plan(shots=2), "fit")[0]
    assert (fit.images, fit.temporary) == (6 * IMAGE, 0)
    room(10 * IMAGE)
    fit = only(world.plan(shots=2), "fit")[0]
    assert (fit.images, fit.temporary) == (0, 6 * IMAGE)
    assert of(world, shots=2, n_syn=40).disk == (36 + 40 + 12 + 12) * IMAGE, "the halves of the real images' own score"


@pytest.fixture
def commands(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_toys(tmp_path, texts(per_class=100))
    monkeypatch.setattr(demand_module, "free_memory", lambda: 9000)
    return lambda *arguments: run_command([*arguments, *OPTIONS, "--n-syn", "100", "--device", "cpu"])


def test_the_plan_prints_what_is_needed_and_warns_where_a_run_is_refused(commands, capsys):
    assert commands("plan") == 0
    told = capsys.readouterr()
    (line,) = [line for line in told.out.splitlines() if line.startswith("needs")]
    assert line.startswith("needs      19.8 kB of disk (")
    assert line.endswith(" free), 1.6 GiB of memory for a step (0.0 GiB free)")
    assert "bench: warning: train a on real toy, seed 1: its images take " in told.err
    assert commands("run") == 2
    told = capsys.readouterr()
    assert "\nneeds      19.8 kB" in told.out
    assert told.err.startswith("bench: train a on real toy, seed 1: its images take ")
    assert commands("plan", "--json") == 0
    found = json.loads(capsys.readouterr().out)["needs"]
    assert (found["disk"], found["memory"], found["free_memory"]) == (412 * IMAGE, WORKER, 9000)
    assert found["refusal"].startswith("train a on real toy")


def test_an_accelerator_is_named_with_what_it_has(world, room, monkeypatch):
    room(100 * IMAGE)
    monkeypatch.setattr(machine, "has_cuda", lambda: True)
    monkeypatch.setattr(demand_module, "accelerator_memory", lambda: 80 * GIB)
    found = of(world, device="cuda", precision="fp32", n_syn=1000)
    assert (found.accelerator, found.accelerator_memory) == (100 * IMAGE, 80 * GIB)
    assert ", 3.0 GiB of the accelerator (80.0 GiB there), 1 training reads" in str(replace(found, accelerator=3 * GIB))
    assert "accelerator" not in str(of(world, device="cpu", n_syn=1000))


def test_an_unknown_system_is_not_measured_against_a_guess(world, monkeypatch):
    monkeypatch.setattr(demand_module.sys, "platform", "darwin")
    assert of(world).free_memory is None
    assert "GiB of memory for a step, " not in str(of(world))
    assert machine.free_memory() > 0
