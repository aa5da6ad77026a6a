"""The main job, reduced, with the real embedded models: what it prints, what it leaves, and that it repeats itself."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from driving import MAIN_JOB
from looking import COLUMNS, hashes, records, rows
from PIL import Image

GEN = "diffinv:checkpoints=4,num_inference_steps=2"
TABLES = ("leaderboard.csv", "leaderboard.md")


def test_the_plan_is_printed_first_with_an_estimate(main_job):
    lines = main_job.done.out.splitlines()
    assert lines[0] == "plan       2 cells, 0 done; 14 steps"
    stages = [line.split()[0] for line in lines[1:7]]
    assert stages == ["data", "fit", "sample", "train", "reference", "score"]
    assert all("0 cached" in line and re.search(r"about \d+ s of work$", line) for line in lines[1:7])
    assert re.fullmatch(r"estimate   \d+ (s|min.*) with 1 process on cpu", lines[7])
    assert lines[9:11] == ["trainings  1 draw x 1 seed of each row", "controls   none; --controls adds them"]


def test_every_step_is_announced_and_ends_with_what_is_left(main_job):
    lines = main_job.done.err.splitlines()
    begun = [line for line in lines if not re.search(r": (done|failed|.* \d+/\d+ )", line)]
    ended = [line for line in lines if ": done in " in line]
    assert len(ended) == 14
    assert [line.split("] ")[1] for line in begun] == [line.split("] ")[1].rpartition(": done")[0] for line in ended]
    assert all(re.search(r"done in \d+ .*; about .+ left in all$", line) for line in ended[:-1])
    assert ended[-1].startswith("[14/14] ")
    assert ended[-1].endswith("; all steps done")


def test_stderr_holds_progress_and_nothing_else(main_job):
    assert main_job.done.errors == []


def test_the_table_shows_real_beside_diffinv_and_the_difference(main_job):
    found = {row["gen"]: row for row in rows(main_job.results)}
    real, made = found["real"], found[GEN]
    lines = main_job.done.out.splitlines()
    table = [re.split(r"\s{2,}", line) for line in lines if line.startswith(("architecture", "shufflenetv2"))]
    assert table[0][:4] == ["architecture", "generator", "accuracy, %", "difference"]
    assert table[1][:2] == ["shufflenetv2", "real"]
    assert float(table[1][2].split(" ")[0]) == pytest.approx(float(real["acc_mean"]), abs=0.06)
    assert table[2][:2] == ["shufflenetv2", GEN]
    assert float(table[2][2].split(" ")[0]) == pytest.approx(float(made["acc_mean"]), abs=0.06)
    assert float(table[2][3]) == pytest.approx(float(made["acc_mean"]) - float(real["acc_mean"]), abs=0.06)
    assert float(made["delta"]) == pytest.approx(float(made["acc_mean"]) - float(real["acc_mean"]), abs=0.011)
    assert "Each row: mix 1:1, 20 generated, 1 draw x 1 seed, tie group 1." in lines
    (sentence,) = (line for line in lines[-2:] if line.startswith(f"{GEN}: "))
    assert " with shufflenetv2 (1 draw x 1 seed)" in sentence
    (measured,) = (line for line in main_job.done.out.splitlines() if "FD (glyphcnn-v1)" in line)
    assert re.split(r"\s{2,}", measured)[:4] == ["generator", "generated", "FD (glyphcnn-v1) ↓", "of real images"]


def test_leaderboard_csv_has_the_columns_in_order(main_job):
    text = (main_job.results / "leaderboard.csv").read_text("utf-8")
    assert text.splitlines()[0].startswith(f"{COLUMNS},")
    found = {row["gen"]: row for row in rows(main_job.results)}
    assert set(found) == {"real", GEN}
    for row in found.values():
        assert (row["data"], row["aug"], row["arch"]) == ("digits", "default", "shufflenetv2")
        assert (row["n_real"], row["seeds"], row["preset"]) == ("20", "1", "quick")
        assert re.fullmatch(r"\d{1,3}\.\d\d", row["acc_mean"])
        assert row["extractor"] == "glyphcnn-v1"
        assert all(float(row[name]) >= 0 for name in ("fd", "precision", "recall", "density", "coverage", "train_s"))
    assert (found["real"]["mix"], found[GEN]["mix"]) == ("1:0", "1:1")
    assert (found["real"]["n_syn"], found[GEN]["n_syn"]) == ("0", "20")
    assert (found["real"]["fit_s"], found["real"]["sample_s"]) == ("", "")
    assert float(found[GEN]["fit_s"]) > 0
    assert float(found[GEN]["sample_s"]) > 0


def test_both_generators_are_scored_on_the_same_number_of_images(main_job):
    scores = [record["metrics"]["fidelity"] for record in records(main_job.results)]
    assert {score["n_score"] for score in scores} == {20}
    assert "different numbers of images" not in (main_job.results / "leaderboard.md").read_text("utf-8")


def test_there_is_one_record_for_each_cell(main_job):
    found = records(main_job.results)
    assert {(record["cell"]["gen"], record["status"]) for record in found} == {("real", "done"), (GEN, "done")}
    paths = [path for path in (main_job.results / "records").rglob("*") if path.is_file()]
    assert len(paths) == 2
    for path in paths:
        text = path.read_text("utf-8")
        assert str(main_job.results) not in text
        assert "/tmp" not in text
        environment = json.loads(text)["provenance"]["environment"]
        assert (main_job.results / "environments" / f"{environment}.json").is_file()
    spent = next(record["cost"] for record in found if record["cell"]["gen"] == GEN)
    assert spent["fit_images"] == 20
    assert spent["peak_memory_mib"] > 0


def test_the_seed_of_a_training_does_not_depend_on_the_generator(main_job):
    assert len({record["cell"]["seed"] for record in records(main_job.results)}) == 1


def test_markdown_and_figure(main_job):
    text = (main_job.results / "leaderboard.md").read_text("utf-8")
    assert "| shufflenetv2 | real" in text
    (figure,) = (main_job.results / "figures").glob("*.png")
    assert f"(figures/{figure.name})" in text
    with Image.open(figure) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.width >= 480
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 32  # there is something to see


def test_run_again_is_cached_and_changes_no_byte(main_job):
    before = hashes(main_job.results)
    done = main_job.bench(*MAIN_JOB)
    assert hashes(main_job.results) == before
    assert done.err == ""
    assert "estimate   nothing to run: everything is cached" in done.out
    assert table_of(done.out) == table_of(main_job.done.out)
    assert done.seconds < 30  # a second of work on an idle machine


def table_of(text: str) -> list[str]:
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("architecture"))
    return lines[start : next(place for place, line in enumerate(lines) if line.startswith("records"))]


def test_json_gives_the_records_and_nothing_else(main_job):
    done = main_job.bench(*MAIN_JOB, "--json")
    assert sorted(json.loads(done.out), key=lambda record: record["key"]) == sorted(
        records(main_job.results), key=lambda record: record["key"]
    )
    assert done.err.startswith("plan       2 cells, 2 done")


def test_no_baseline_leaves_the_real_row_out_of_the_plan(main_job):
    done = main_job.bench(*MAIN_JOB, "--no-baseline", "--dry-run")
    assert done.out.startswith("plan       1 cell, 1 done; ")
    assert "to run: everything is cached" in done.out


def test_dry_run_changes_nothing(main_job):
    before = hashes(main_job.bench.folder)
    done = main_job.bench(*MAIN_JOB, "--seeds", "3", "--dry-run")
    assert done.out.startswith("plan       6 cells, 2 done; ")
    assert re.search(r"train +6 steps: 2 cached, 4 to run, about \d+ s of work\n", done.out)
    assert hashes(main_job.bench.folder) == before
    fresh = main_job.bench(*MAIN_JOB, "--dry-run", "--results", "nowhere")
    assert fresh.out.startswith("plan       2 cells, 0 done; ")
    assert not (main_job.bench.folder / "nowhere").exists()


@pytest.mark.slow
def test_processes_give_the_same_bytes_as_inline(main_job):
    results = main_job.bench.folder / "by-processes"
    main_job.bench(*MAIN_JOB, "--executor", "processes", "--workers", "2", "--results", results.name)
    assert rows(results, measured=False) == rows(main_job.results, measured=False)
    images = ("*.npy", "*.safetensors", "outcome.json", "scores.json")
    for pattern in images:
        mine = {path.relative_to(results).as_posix() for path in (results / "artifacts").rglob(pattern)}
        both = hashes(results), hashes(main_job.results)
        assert mine
        assert {name: both[0][name] for name in mine} == {name: both[1].get(name) for name in mine}
    shutil.rmtree(results)
