"""Whole runs through the real harness with tiny plugins: caching, edits, failures, kills, company."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from datetime import datetime, timedelta
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from toys import World

import benchbench
from benchbench.errors import BenchError, UsageError
from benchbench.planning.steps import Step
from benchbench.plugins import Plugin
from benchbench.plugins.images import ImageSet
from benchbench.results.folder import read_records
from benchbench.results.record import SCHEMA, Record
from benchbench.results.table import build_table
from benchbench.running.executors import choose_executor
from benchbench.running.records import make_record as make
from benchbench.running.run import _Keeper, inspect
from benchbench.running.schedule import Listener
from benchbench.store.artifact import checksums
from benchbench.store.store import Store

VERSION = version("benchbench")
TABLES = ("leaderboard.csv", "leaderboard.md", "records", "figures")


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    made = World(tmp_path / "plugins", tmp_path / "results")
    monkeypatch.setenv("TOY_LOG", str(made.log))
    return made


ALL = ["chunk 0", "chunk 10", "chunk 20", "chunk 30", "fit", "sample", "train a", "train a"]


def store(world: World) -> Store:
    return Store(world.results / "artifacts")


def accuracies(records) -> list[float]:
    return [record.result.accuracy for record in records]


def shown(world: World) -> dict[str, float | None]:
    """Return the accuracy that the table shows for each generator."""
    table = build_table(read_records(world.results).records)
    return {row.setting.gen: row.acc_mean for row in table.rows}


# What a run leaves


def test_a_run_leaves_records_tables_and_pictures(world, tmp_path):
    records = world.run(arch="all", seeds=2, mix="0:1,1:1")
    assert len(records) == 2 * 2 * (1 + 2)
    assert all(record.status == "done" for record in records)
    left = world.files(*TABLES)
    assert sum(name.startswith("records/") for name in left) == 12
    pictures = [name for name in left if name.endswith(".png")]
    assert sum("/arch-quick-" in name for name in pictures) == 1, "two architectures are plotted"
    assert sum("/cost-quick-" in name for name in pictures) == 1, "two rows of one place are held against their cost"
    assert len(pictures) == 3, "and what was generated is drawn"
    assert {"leaderboard.csv", "leaderboard.md"} <= set(left)
    assert not [name for name, content in left.items() if str(tmp_path).encode() in content]
    ours = next(record for record in records if record.cell.mix == "1:1")
    assert ours.result.details["real"] == 24
    assert ours.metrics["toymetric.py"] == records[-1].metrics["toymetric.py"]
    assert ours.metrics["toymetric.py"]["n_score"] == 12


def test_what_is_no_json_number_becomes_one(world):
    """A loss that diverged and NumPy's scalars are what plugins report; they must not cost a training."""
    (record,) = world.run(gen="real", metric="none")
    assert record.result.curve == ((5, None, record.result.accuracy),)
    assert type(record.result.details["noise"]) is float
    assert len(record.result.details["means"]) == 3


def test_checkpoints_of_finished_work_are_swept_by_the_next_run(world):
    """A kill between publishing a step and removing its checkpoints leaves them."""
    world.run()
    store = Store(world.results / "artifacts")
    (key,) = [key for key, step in world.plan().steps.items() if step.stage == "fit"]
    (store.scratch(key) / "checkpoint").write_text("late")
    unfinished = "0" * 64
    (store.scratch(unfinished) / "checkpoint").write_text("another run's")
    world.run()
    assert not store.begun(key)
    assert store.begun(unfinished)


def test_generated_images_keep_their_origins(world):
    world.run(shots=2)
    (sample,) = [key for key, step in world.plan(shots=2).steps.items() if step.stage == "sample"]
    images = ImageSet.load(store(world).path(sample))
    assert (len(images), len(images.origins)) == (40, 40)
    assert {origin["source"] for origin in images.origins} <= set(range(6))


# The cache


def test_a_second_run_does_nothing_and_leaves_the_same_bytes(world):
    world.run(arch="all", seeds=2)
    before = world.files(*TABLES)
    assert world.executed().count("train a") == 4
    world.run(arch="all", seeds=2)
    assert world.executed() == []
    assert world.files(*TABLES) == before


def test_more_of_the_same_runs_only_the_difference(world):
    world.run()
    assert world.executed() == ALL
    world.run(seeds=2)
    assert world.executed() == ["train a", "train a"]
    world.run(gen=["toygen", "toygen+toyfilter"])
    assert world.executed() == ["train a"]


def test_a_sampling_parameter_does_not_refit(world):
    world.run()
    world.executed()
    world.run(gen="toygen:level=7")
    assert world.executed() == ["chunk 0", "chunk 10", "chunk 20", "chunk 30", "sample", "train a"]


def test_a_constant_in_a_helper_recomputes(world):
    """The edit on which popular harnesses return stale numbers."""
    before = world.run()
    world.executed()
    world.edit("toyfit", "GAIN = 3", "GAIN = 60")
    after = world.run()
    assert world.executed() == ["chunk 0", "chunk 10", "chunk 20", "chunk 30", "fit", "sample", "train a"]
    assert before[0] == after[0], "the baseline has nothing to do with it"
    assert before[1].key != after[1].key
    assert before[1].metrics != after[1].metrics
    (row,) = [row for row in build_table(read_records(world.results).records).rows if not row.setting.baseline]
    assert (row.superseded, row.generation.scores[0].values["fd"]) == (1, after[1].metrics["toymetric.py"]["fd"])


def test_a_comment_changes_nothing(world):
    world.run()
    before = world.files(*TABLES)
    world.executed()
    world.edit("toygen", 'note("fit")', 'note("fit")  # learn first')
    world.edit("toyfit", '"""Return a whole number that depends on every image."""', '"""Learn."""')
    world.edit("toygen", 'help="Enters fit."', 'help="Something else."')
    world.run()
    assert world.executed() == []
    assert world.files(*TABLES) == before


def test_an_edit_of_sampling_does_not_refit(world):
    world.run()
    world.executed()
    world.edit("toysample", "+ by)", "+ by + 90)")
    world.run()
    assert world.executed() == ["chunk 0", "chunk 10", "chunk 20", "chunk 30", "sample", "train a"]


def test_an_edit_that_is_taken_back_is_current_again(world):
    world.run(seeds=2)
    before = shown(world)
    world.edit("toysample", "+ by)", "+ by + 90)")
    world.run(seeds=2)
    assert shown(world) != before
    world.executed()
    world.edit("toysample", "+ by + 90)", "+ by)")
    world.run(seeds=2)
    assert world.executed() == []
    assert shown(world) == before
    assert len(read_records(world.results).records) == 6


def as_written_a_year_ahead(world: World, schema: int) -> None:
    """Turn the records into those of a machine whose clock was ahead, also as an earlier version wrote them."""
    for path in (world.results / "records").rglob("*.json"):
        record = json.loads(path.read_text("utf-8"))
        at = datetime.fromisoformat(record["provenance"]["created"]) + timedelta(days=365)
        record["provenance"]["created"] = at.isoformat()
        record["provenance"]["order"] += 365 * 24 * 3600 * 1000
        if schema == 4:
            record["schema"] = 4
            del record["provenance"]["order"]
        path.write_text(json.dumps(record), "utf-8")


@pytest.mark.parametrize("schema", [4, SCHEMA])
def test_a_clock_that_was_ahead_once_does_not_keep_old_numbers_in_the_tables(world, schema):
    world.run(seeds=2)
    before = shown(world)
    as_written_a_year_ahead(world, schema)
    world.edit("toysample", "+ by)", "+ by + 90)")
    after = world.run(seeds=2)
    made = sum(accuracies(after)[2:]) / 2 * 100
    assert made != pytest.approx(before["toygen.py"])
    assert shown(world)["toygen.py"] == pytest.approx(made)
    with pytest.warns(UserWarning, match="4 records say that they were made in the future"):
        frame = benchbench.load_results(world.results)
    assert frame[frame.gen == "toygen.py"].acc_mean.item() == pytest.approx(made)
    assert f" {made:.1f} " in world.files("leaderboard.md")["leaderboard.md"].decode()
    world.edit("toysample", "+ by + 90)", "+ by)")
    world.executed()
    world.run(seeds=2)
    assert (world.executed(), shown(world)) == ([], before), "an edit that is taken back is current again"
    taken_back = world.files("records", "leaderboard.md")
    world.run(seeds=2)
    assert world.files("records", "leaderboard.md") == taken_back


def test_all_records_of_a_run_have_one_order_and_a_later_run_a_greater_one(world):
    first = {record.provenance.order for record in world.run(arch=["a", "b"])}
    later = {record.provenance.order for record in world.run(arch=["a", "b"], mix="1:1") if record.cell.mix == "1:1"}
    assert (len(first), len(later)) == (1, 1)
    assert min(later) > max(first)


def test_a_damaged_artifact_is_reported_and_rebuilt(world):
    world.run()
    tables = world.files("leaderboard.csv", "leaderboard.md", "figures")
    world.executed()
    plan = world.plan()
    sample = plan.cells[-1].sample[0]
    images = store(world).path(sample) / "images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    (found,) = inspect(plan, store(world)).corrupt
    assert found[0] == sample
    assert re.match(r"images.npy: checksum \w+, \w+ expected", found[2])
    world.run()
    assert world.executed() == ["chunk 0", "chunk 10", "chunk 20", "chunk 30", "sample"]
    assert inspect(plan, store(world)).corrupt == ()
    assert world.files("figures") == {name: tables[name] for name in tables if name.startswith("figures")}


def test_what_was_removed_is_made_again_only_if_something_needs_it(world):
    world.run()
    plan = world.plan()
    world.executed()
    for key in (plan.cells[-1].fit[0], plan.cells[-1].sample[0]):
        store(world).discard(key)
    status = inspect(plan, store(world))
    assert not status.todo
    assert len(plan.steps.keys() - status.cached) == 2
    before = world.files("records")
    world.run()
    assert world.executed() == []
    assert world.files("records") == before, "what fitting cost stays known"
    world.run(arch="b")
    assert world.executed() == ["chunk 0", "chunk 10", "chunk 20", "chunk 30", "fit", "sample", "train b", "train b"]


# Failures


def test_a_failed_cell_is_recorded_and_the_others_go_on(world, tmp_path):
    records = world.run(arch=["boom", "a"])
    told = {(record.cell.gen, record.cell.arch): record.status for record in records}
    assert told == {
        ("real", "boom"): "failed",
        ("real", "a"): "done",
        ("toygen.py", "boom"): "failed",
        ("toygen.py", "a"): "done",
    }
    kept = [record for record in read_records(world.results).records if record.status == "failed"]
    assert {record.error.partition(" (")[0] for record in kept} == {"ValueError: boom as asked"}
    assert b"failed (ValueError: boom as asked" in world.files("leaderboard.md")["leaderboard.md"]
    world.executed()
    world.run(arch=["boom", "a"])
    assert world.executed() == ["train boom", "train boom"], "a failure is tried again, the rest is kept"


@pytest.mark.parametrize("stage", ["fit", "sample"])
def test_a_failed_generation_fails_its_cells_with_its_cause(world, stage):
    records = world.run(gen=[f"toygen:fail={stage}", "toygen", f"toygen:fail={stage}+toyfilter"], arch="all")
    for record in records:
        if "fail" in record.cell.gen:
            assert record.status == "failed"
            assert record.error.startswith(f"{stage} toygen.py:fail={stage} toy: ")
            assert {"fit": "the toy broke as asked", "sample": "no sample today"}[stage] in record.error
        else:
            assert record.status == "done"


def test_a_metric_that_fails_is_seen_and_hides_no_accuracy(world):
    first = world.run(metric=["toymetric:fail=true"])
    assert [record.status for record in first] == ["done", "done"]
    for record in first:
        assert record.metrics["toymetric.py:fail=true"]["error"].startswith(
            "RuntimeError: no score today (toymetric.py:"
        )
    world.executed()
    world.edit("toymetric", "no score today", "no score")
    world.edit("toymetric", "if self.fail", "if False")
    second = world.run(metric=["toymetric:fail=true"])
    assert world.executed() == []
    assert accuracies(second) == accuracies(first)
    assert [set(record.metrics["toymetric.py:fail=true"]) for record in second] == [
        {"fd", "extractor", "n_score", "n_reference"}
    ] * 2
    assert len(read_records(world.results).records) == 2


def test_a_record_that_says_it_all_is_not_made_again(world, monkeypatch):
    before = world.run()
    made = []
    monkeypatch.setattr(
        "benchbench.running.run.make_record", lambda cell, *given: made.append(cell) or make(cell, *given)
    )
    assert world.run() == before
    assert made == []
    world.run(metric=["toymetric", "toymetric:scale=2"])
    assert len(made) == len(before), "another metric is wanted"
    (path,) = world.results.glob(f"records/**/{before[1].key}.json")
    text = path.read_text("utf-8")
    path.write_text(text.replace(f'"bench_version": "{VERSION}"', '"bench_version": "0.0.1"'), "utf-8")
    del made[:]
    world.run(metric=["toymetric", "toymetric:scale=2"])
    assert [cell.train for cell in made] == [before[1].key], "made by another version"
    assert json.loads(path.read_text("utf-8"))["provenance"]["bench_version"] == VERSION


def test_metrics_that_are_left_out_this_time_stay_known(world):
    world.run()
    before = world.files("records", "leaderboard.csv")
    world.run(metric="none")
    assert world.files("records", "leaderboard.csv") == before


def test_a_generator_that_makes_too_few_images_and_can_be_mended(world):
    """Its chunks cannot be continued with another size, so they must not be in the way of the next run."""
    world.edit("toygen", "context.chunks(context.n_syn, 10)", "context.chunks(context.n_syn - 5, 10)")
    _, record = world.run()
    assert record.error == ("sample toygen.py toy: toygen.py: made 35 images where 40 were asked for (n_syn)")
    assert not [path for path in (world.results / "artifacts" / ".partial").glob("*/chunk-*")]


@pytest.mark.parametrize(
    ("old", "new", "flaw"),
    [
        ("context.info.classes)", "context.info.classes[::-1])", "other classes than info() says, or in another order"),
        ("(len(labels), 4, 4, 3)", "(len(labels), 4, 5, 3)", "images of 4x5 px where info() says 4"),
    ],
)
def test_a_part_of_a_dataset_that_is_unlike_its_info_is_a_failure(world, old, new, flaw):
    world.edit("toydata", old, new)
    record = world.run(metric="none")[0]
    assert record.error.endswith(f"toy: train has {flaw}")


def test_a_metric_that_returns_a_number_alone_is_told_what_to_return(world):
    world.edit("toymetric", 'return {"fd": fd,', 'return fd; return {"fd": fd,')
    record = world.run()[-1]
    assert record.metrics["toymetric.py"]["error"] == "toymetric.py: score must return a dictionary; got float64"


def test_images_of_another_size_are_refused_at_the_first_chunk(world):
    world.edit("toygen", "yield ImageSet(images,", "yield ImageSet(images[:, ::2],")
    _, record = world.run()
    assert record.error.endswith("toygen.py: made images of 2x4 px where the dataset has 4x4")
    assert [line for line in world.executed() if line.startswith("chunk")] == ["chunk 0"]


def test_every_failure_leaves_what_is_finished(world):
    world.run()
    before = {key: store(world).meta(key) for key in list(store(world).keys())}
    world.run(arch=["boom", "memory"])
    for key, meta in before.items():
        assert store(world).meta(key) == meta
    assert [key for key in store(world).folders() if store(world).verify(key)] == []


def test_a_results_folder_that_cannot_be_written(world):
    world.results.mkdir(parents=True)
    (world.results / "artifacts").write_text("in the way")
    with pytest.raises(UsageError, match=r"results folder .* cannot be written: "):
        world.run()
    assert world.executed() == []


def test_an_executor_that_cannot_close_costs_no_record(world, monkeypatch):
    def raises(self: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("benchbench.running.executors._Inline.close", raises)
    with pytest.raises(BenchError, match=r"^the executor failed: OSError: no route to host"):
        world.run()
    monkeypatch.undo()
    assert {record.status for record in read_records(world.results).records} == {"done"}


@pytest.mark.parametrize(
    ("executor", "workers", "told"),
    [
        ("inlin", None, "--executor inlin: unknown executor (did you mean 'inline'?); `bench list executor` shows all"),
        ("real", None, "--executor real: unknown executor (it is a generator); `bench list executor` shows all"),
        ("inline:x=1", None, "--executor inline:x: unknown parameter; it has none"),
        ("inline", 0, "--workers 0: must be at least 1"),
    ],
)
def test_executors_that_are_none(executor, workers, told):
    with pytest.raises(UsageError) as error:
        choose_executor(executor, workers, 0, "cpu")
    assert str(error.value) == told


def test_the_executor_fits_the_machine(monkeypatch):
    monkeypatch.setattr("benchbench.machine.cores", lambda: 4)
    monkeypatch.setattr("benchbench.machine.free_memory", lambda: 64 * 2**30)

    def chosen(wanted: str, workers: int | None, steps: int, device: str) -> tuple[str, int | None]:
        found = choose_executor(wanted, workers, steps, device)
        return found.text, found.workers

    assert chosen("auto", None, 2, "cpu") == ("processes", 4)
    assert chosen("auto", None, 2, "cuda") == ("processes", 1)
    assert chosen("processes", 3, 2, "cpu") == ("processes", 3)
    assert chosen("processes", None, 2, "cuda") == ("processes", 1)
    monkeypatch.setattr("benchbench.machine.free_memory", lambda: 4 * 2**30)
    assert chosen("auto", None, 2, "cpu") == ("processes", 2)
    monkeypatch.setattr("benchbench.machine.free_memory", lambda: 2**29)
    assert chosen("auto", None, 2, "cpu") == ("processes", 1)


# Kills and company


def bytes_of_artifacts(world: World) -> dict[str, bytes]:
    found = {}
    for key in list(store(world).keys()):
        for path in sorted(store(world).path(key).rglob("*")):
            if path.is_file() and path.name not in ("done.json", ".verified.json"):
                found[f"{key}/{path.name}"] = path.read_bytes()
    return found


def test_killed_while_sampling_it_continues_and_ends_with_the_same_bytes(world, tmp_path):
    killed = world.process({"TOY_KILL": "20"})
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    assert Counter(world.executed())["sample"] == 1
    world.run()
    again = [line for line in world.executed() if not line.startswith("train")]
    assert again == ["chunk 20", "chunk 30", "sample"], "what was finished is not done again"
    (sample,) = [key for key, step in world.plan().steps.items() if step.stage == "sample"]
    assert store(world).meta(sample)["sampled_before_kill"] == 2
    ended = bytes_of_artifacts(world)
    assert not list((world.results / "artifacts" / ".partial").glob("*"))
    world.results = tmp_path / "undisturbed"
    world.run()
    assert bytes_of_artifacts(world) == ended


def test_seconds_of_a_step_hold_its_checksums(world, monkeypatch):
    def slow(self, key, folder, report):
        time.sleep(0.4)
        return checksums(folder, report)

    monkeypatch.setattr(Store, "flushed", slow)
    (record,) = world.run(gen="real")
    assert record.cost.train_s > 0.4
    assert record.cost.data_s > 0.4


@pytest.mark.parametrize("damage", ["zeroed pixels", "fewer pixels", "no pixels", "zeroed file", "cut file", "no file"])
def test_a_chunk_that_a_power_cut_damaged_is_made_again(world, tmp_path, damage):
    killed = world.process({"TOY_KILL": "20"})
    killed.communicate(timeout=120)
    assert killed.returncode == -9
    world.executed()
    (scratch,) = (world.results / "artifacts" / ".partial").iterdir()
    (chunk,) = scratch.glob("chunk-000001-*")
    damaged = scratch / "pixels-of-chunks.npy" if "pixels" in damage else chunk
    content = damaged.read_bytes()
    half = 128 + (len(content) - 128) // 2
    if damage.startswith("no "):
        damaged.unlink()
    else:
        damaged.write_bytes(content[:half] + (bytes(len(content) - half) if "zeroed" in damage else b""))
    world.run()
    again = ["chunk 10", "chunk 20", "chunk 30"]
    assert [line for line in world.executed() if line.startswith("chunk")] == ["chunk 0"] * (
        damage == "no pixels"
    ) + again
    ended = bytes_of_artifacts(world)
    world.results = tmp_path / "undisturbed"
    world.run()
    assert bytes_of_artifacts(world) == ended


def test_two_runs_at_once_share_the_work(world):
    """Each step is executed once, whoever comes first, and both end well."""
    options = {"arch": ["a", "b", "c"], "seeds": 2, "gen": ["toygen", "toygen+toyfilter"]}
    both = [world.process(executor=kind, **options) for kind in ("inline", "processes")]
    for process in both:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told.decode()
    ran = Counter(world.executed())
    assert ran == {
        "fit": 1,
        "sample": 1,
        **{f"chunk {at}": 1 for at in (0, 10, 20, 30)},
        **{f"train {arch}": 6 for arch in "abc"},
    }
    assert len(read_records(world.results).records) == 18
    world.run(**options)
    assert world.executed() == []


def test_the_same_subset_is_generated_from_and_trained_on(world):
    """Shots, draws and the mix meet in one place only: what fit saw is what a mixed training sees."""
    plan = world.plan(shots=2, draws=2, mix="1:1")
    world.run(shots=2, draws=2, mix="1:1")
    for cell in plan.cells:
        outcome = json.loads((store(world).path(cell.train) / "outcome.json").read_text())
        assert outcome["details"]["real"] == 6
    subsets = {json.dumps(plan.steps[cell.train].body["subset"]) for cell in plan.cells}
    assert len(subsets) == 2
    fitted = [step.body["subset"] for step in plan.steps.values() if step.stage == "fit"]
    assert {json.dumps(item) for item in fitted} == subsets


def test_an_empty_and_a_filled_validation_part(world):
    for held_out in (0, 6):
        (record,) = world.run(gen="real", data=f"toydata:held_out={held_out}", metric="none")
        assert record.status == "done"
    data = [key for key in list(store(world).keys()) if store(world).meta(key)["stage"] == "data"]
    sizes = {len(ImageSet.load(store(world).path(key) / "validation")) for key in data}
    assert sizes == {0, 6}


def test_the_environment_is_told_once(world):
    world.run(arch="all")
    (file,) = (world.results / "environments").iterdir()
    records = read_records(world.results).records
    assert {record.provenance.environment for record in records} == {file.stem}
    assert "numpy" in json.loads(file.read_text())["distributions"]


def test_the_command_line_says_what_failed_and_exits_with_one(world, capsys):
    from benchbench.cli import run_command

    options = world.options(metric="toymetric:fail=true", arch=["a", "boom"])
    arguments = ["run", "--results", str(world.results), "--executor", "inline", "--seeds", "1", "--arch", "a,boom"]
    for name in ("gen", "data", "learner", "metric"):
        arguments += [f"--{name}", options[name][0]]
    assert run_command(arguments) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("bench: 2 cells failed: ValueError: boom as asked")]
    assert [
        line for line in said if line.startswith("bench: metric toymetric.py:fail=true failed (2 of its steps): Runt")
    ]
    ended = ["--arch", "a", "--metric", "none"]
    assert (
        run_command([*arguments[: arguments.index("--arch")], *ended, *arguments[arguments.index("--gen") :][:6]]) == 0
    )
    assert "failed" not in capsys.readouterr().err  # of a metric that this run did not ask for


# Ten thousand cells


def synthetic_cells(count: int, shared: Step) -> tuple[dict[str, Step], list[SimpleNamespace]]:
    """Return one training for each cell, all on the same images."""
    trains = [Step("train", f"t{number}", {"n": number}, {}, (shared.key,), "t") for number in range(count)]
    cells = [SimpleNamespace(train=step.key, steps={"sample": [shared.key], "train": [step.key]}) for step in trains]
    return {step.key: step for step in (shared, *trains)}, cells


def test_a_finished_step_touches_its_own_cells_alone(world, monkeypatch):
    """Of 10,000 cells each is looked at once, not once after every step."""
    shared = Step("sample", "images", {}, {}, (), "s")
    steps, cells = synthetic_cells(10_000, shared)
    plan = SimpleNamespace(cells=cells, steps={})
    made, read, written = [], [], []
    monkeypatch.setattr("benchbench.running.run.make_record", lambda cell, *_: made.append(cell.train) or cell)
    monkeypatch.setattr("benchbench.running.run.record_path", lambda results, record: results / record.train)
    monkeypatch.setattr("benchbench.running.run.read_record", lambda path: read.append(path))
    monkeypatch.setattr("benchbench.running.run.keep_known", lambda record, earlier: record)
    monkeypatch.setattr("benchbench.running.run.write_record", lambda results, record: written.append(record.train))
    counted = Counting(cells)
    plan.cells = counted
    keeper = _Keeper(
        plan, world.results, store(world), "e", Listener(), SimpleNamespace(learn=lambda *_: None), set(steps)
    )
    looked = counted.looked
    assert looked == 10_000
    keeper.finished(shared, {"status": "done", "seconds": 1.0})
    assert (made, counted.looked) == ([], looked)
    for number, cell in enumerate(cells, 1):
        outcome = {"status": "done", "seconds": 1.0}
        keeper.failed(steps[cell.train], "no") if number % 2 else keeper.finished(steps[cell.train], outcome)
        assert len(written) == number
    assert made == written == [cell.train for cell in cells]
    assert len(read) == 10_000
    assert counted.looked - looked == 10_000, "each once more, for its record"
    assert len(keeper.records) == 10_000


class Counting(list):
    """A list that counts how often an item was taken out of it."""

    looked = 0

    def __getitem__(self, place):
        self.looked += 1
        return super().__getitem__(place)

    def __iter__(self):
        for item in super().__iter__():
            self.looked += 1
            yield item


def test_a_record_is_parsed_once_by_the_run_that_writes_it(world, monkeypatch):
    parsed = Counter()
    read = Record.from_json
    monkeypatch.setattr(Record, "from_json", staticmethod(lambda data: parsed.update([data["key"]]) or read(data)))
    records = world.run(arch=["a", "b"])
    assert parsed == {record.key: 1 for record in records}
    world.run(arch=["a", "b"])
    assert parsed == {record.key: 1 for record in records}, "and the files are as they were"


def test_a_plugin_of_a_plan_is_asked_once_what_it_needs(world, monkeypatch):
    asked: list[Plugin] = []  # holds them, so that no id comes twice
    usual = Plugin.needs
    monkeypatch.setattr(Plugin, "needs", lambda self: asked.append(self) or usual(self))
    world.plan()
    assert len(asked) >= 4
    assert len({id(plugin) for plugin in asked}) == len(asked)
