"""``bench compare``: which rows are paired, what is said of them, and what differs between them."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from handmade import record
from studies import trainings

from benchbench.cli import run_command
from benchbench.errors import UsageError
from benchbench.results.compare import accuracies, compare
from benchbench.results.folder import write_record


@pytest.fixture
def results(tmp_path):
    """Two architectures at two numbers of shots, three draws; vgg16 gains nothing, resnet18 five points."""

    def draws(gen, arch, correct, **cell):
        return [record(gen, arch=arch, correct=correct + 2 * n, draw=n, **cell) for n in range(3)]

    for shots in (5, 10):
        place = {"shots": shots, "n_real": 10 * shots}
        for arch, gain in (("resnet18", 10), ("vgg16", 0)):
            save(tmp_path, draws("real", arch, 140, **place), draws("diffinv", arch, 140 + gain, **place))
            save(tmp_path, draws("diffinv", arch, 141 + gain, mix="1:1", **place))
    return tmp_path


def save(folder, *groups):
    for group in groups:
        for made in group:
            write_record(folder, made)


def told(pairs):
    return [
        (it.ours.setting.arch, it.ours.setting.mix, it.ours.setting.shots, round(it.difference.value, 6), it.verdict)
        for it in pairs
    ]


def test_a_generator_against_the_baseline_in_all_places(results):
    found = compare("diffinv 0:1", "real", results)
    assert told(found.pairs) == [
        ("resnet18", "0:1", 10, 5.0, "better"),
        ("resnet18", "0:1", 5, 5.0, "better"),
        ("vgg16", "0:1", 10, 0.0, ""),
        ("vgg16", "0:1", 5, 0.0, ""),
    ]
    assert [pair.difference.note for pair in found.pairs] == ["", "", "identical", "identical"]
    assert [(mean.pairs, mean.difference.value) for mean in found.means] == [(2, pytest.approx(2.5))] * 2
    assert found.differences == ["gen: diffinv against real"]
    assert accuracies(found.pairs[0]) == (pytest.approx(76), pytest.approx(71))


def test_two_settings_of_one_generator_in_one_place(results):
    (pair,) = compare("diffinv resnet18 1:1 10", "diffinv resnet18 0:1 10", results).pairs
    assert told([pair]) == [("resnet18", "1:1", 10, 0.5, "no difference shown")]
    (by_id,) = compare(pair.ours.spec_id[:8], pair.theirs.spec_id, results).pairs
    assert by_id.difference == pair.difference
    assert compare("resnet18", "vgg16", results).differences == ["arch: resnet18 against vgg16"]


def test_two_folders_and_what_differs_in_code_and_environment(tmp_path):
    ours, theirs = (trainings(seeds=3, whole=True) for _ in range(2))
    theirs = [dataclasses.replace(it, code=it.code | {"train": "t2"}) for it in theirs]
    for name, group in (("a", ours), ("b", theirs)):
        place = tmp_path / name
        (place / "environments").mkdir(parents=True)
        (place / "environments" / "e1.json").write_text(json.dumps({"distributions": {"torch": name}, "cpu": "x"}))
        save(place, group)
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path)
    assert [pair.difference.note for pair in found.pairs] == ["identical", "identical"]
    assert found.differences == ["the code behind train"]
    moved = [dataclasses.replace(it, provenance=dataclasses.replace(it.provenance, environment="e2")) for it in theirs]
    (tmp_path / "b" / "environments" / "e2.json").write_text(json.dumps({"distributions": {"torch": "b"}}))
    for path in (tmp_path / "b" / "records").rglob("*.json"):
        path.unlink()
    save(tmp_path / "b", moved)
    found = compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path)
    assert found.differences == [
        "the code behind train",
        "environment: cpu x against missing",
        "environment: distributions.torch a against b",
    ]
    (tmp_path / "b" / "environments" / "e2.json").unlink()
    assert compare(str(tmp_path / "a"), str(tmp_path / "b"), tmp_path).differences[-1] == "environment: e1 against e2"


def test_rows_without_a_common_draw_are_said_to_have_none(tmp_path, capsys):
    save(tmp_path, [record("real", draw=0), record(draw=1)])
    (pair,) = compare("diffinv", "real", tmp_path).pairs
    assert (pair.difference, pair.verdict) == (None, "")
    assert run_command(["compare", "diffinv", "real", "--results", str(tmp_path)]) == 0
    assert "no draw and seed in common" in capsys.readouterr().out


def test_one_draw_and_one_seed_get_no_interval(tmp_path, capsys):
    save(tmp_path, [record("real", whole=True), record(whole=True, correct=160)])
    assert run_command(["compare", "diffinv", "real", "--results", str(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.split("\n") if line.startswith("resnet18")]
    words = re.split(r"\s{2,}", line)
    assert words[:6] == ["resnet18", "80.00", "75.00", "+5.00", "none", "1 x 1"]
    assert words[6:] == ["not enough trainings", "for these training images"]


def test_what_is_printed(results, capsys):
    assert run_command(["compare", "diffinv 0:1", "real", "--results", str(results)]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.split("\n")]
    assert lines[:2] == ["A  diffinv 0:1", "B  real"]
    assert lines[3].split() == ["A", "B", "A", "-", "B", "95", "%", "interval", "draws", "x", "seeds"]
    assert re.split(r"\s{2,}", lines[4])[:4] == ["resnet18 10 per class", "76.00", "71.00", "+5.00"]
    assert lines[4].endswith("3 x 1          better")
    assert lines[8].startswith("mean of 2 architectures 10 per class")
    assert "Verdicts are stricter than intervals: 4 rows were compared." in lines
    assert lines[-2] == "differs  gen: diffinv against real"
    assert run_command(["compare", "diffinv 0:1", "real", "--results", str(results), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [pair["verdict"] for pair in said["pairs"]] == ["better", "better", "", ""]
    assert said["pairs"][0]["a"]["gen"] == "diffinv"
    assert said["means"][0]["difference"]["value"] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (
            "difinv",
            "real",
            "compare difinv: no row has 'difinv' (did you mean 'diffinv' or 'digits'?); `bench report` shows ",
        ),
        ("diffinv", "diffinv", "compare diffinv diffinv: no two different rows agree in all else; name more of them, "),
        ("", "real", "compare '': an empty text names no row"),
        ("real", "  ", "compare   : an empty text names no row"),
        ("diffinv real", "real", "compare diffinv real: no row has all of these; "),
    ],
)
def test_what_names_no_row_is_refused_in_one_line(results, ours, theirs, message, capsys):
    with pytest.raises(UsageError) as refused:
        compare(ours, theirs, results)
    assert str(refused.value).startswith(message)
    assert run_command(["compare", ours, theirs, "--results", str(results)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_is_not_compared_with_a_row(results, tmp_path):
    with pytest.raises(UsageError, match=r": real is no results folder; give two folders with records, or two rows$"):
        compare(str(results), "real", results)
    none, empty = tmp_path / "none", tmp_path / "empty"
    none.mkdir()
    with pytest.raises(UsageError, match=rf": {none} has no records; give two folders with records, or two rows$"):
        compare(str(none), str(results), results)
    with pytest.raises(UsageError, match=rf"^compare diffinv: no finished training in {none}; try --results FOLDER$"):
        compare("diffinv", "real", none)
    (empty / "records").mkdir(parents=True)
    with pytest.raises(UsageError, match=r": the folders have no row in common$"):
        compare(str(results), str(empty), results)


def test_no_mean_over_pairs_of_different_architectures(results):
    found = compare("resnet18 1:1 5", "real 5", results)
    assert {(it.ours.setting.arch, it.theirs.setting.arch) for it in found.pairs} >= {("resnet18", "vgg16")}
    assert not found.means
