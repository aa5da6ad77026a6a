"""``benchmarks/train_speed.py`` runs, and its sides see the same pixels, losses and scores."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_speed.py"

#: Largest difference allowed between our side and theirs, by what was compared.
TOLERANCES = {
    "pixels": 1e-5,
    "fp32": 1e-5,
    "bf16": 5e-2,
    "timm": 1e-5,
    "timm bf16": 5e-2,
    "hits": 0.0,
    "stacked loss": 1e-3,
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, str]:
    """Return the report and the Markdown of one smoke run."""
    out = tmp_path_factory.mktemp("speed") / "speed.json"
    command = [sys.executable, str(SCRIPT), "--smoke", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    text = out.with_suffix(".md").read_text("utf-8")
    assert text == done.stdout
    return json.loads(out.read_text("utf-8")), text


def test_sides_agree(smoke):
    report, _ = smoke
    compared = {name for row in report["rows"] for name in row["agreement"]}
    assert compared == set(TOLERANCES)
    for row in report["rows"]:
        for name, difference in row["agreement"].items():
            assert difference <= TOLERANCES[name], (row["name"], name)


def test_report_is_whole(smoke):
    report, text = smoke
    assert report["schema"] == 1
    assert report["smoke"] is True
    assert {"cpu", "nproc", "load_average", "packages", "python", "GOMP_SPINCOUNT"} <= set(report["machine"])
    assert [row["kind"] for row in report["rows"]] == ["loader", "training", "training", "evaluation", "seeds"]
    for row in report["rows"]:
        assert {"name", "threads", "images_per_sample", "load_average", "resolution", "ratios"} <= set(row)
        assert {len(samples) for samples in row["samples"].values()} == {1}
        assert all(set(sample) == {"wall", "cpu"} for samples in row["samples"].values() for sample in samples)
        assert row["name"] in text
        for ratio in row["ratios"]:
            assert ratio["pairs"] == 1
            assert set(ratio["cpu"]) == set(ratio["wall"]) == {"median", "p10", "p90"}
    training = [(ratio["ours"], ratio["theirs"]) for ratio in report["rows"][1]["ratios"]]
    assert {("ours", "authors"), ("ours bf16", "authors"), ("ours", "timm"), ("ours bf16", "timm bf16")} <= set(
        training
    )
    assert "no figure to quote" in text
    assert "not measured" in text  # on a GPU


def test_ratios_are_paired():
    spec = importlib.util.spec_from_file_location("train_report", SCRIPT.with_name("train_report.py"))
    train_report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train_report)
    ours = [{"wall": 1.0 + i, "cpu": 2.0} for i in range(3)]
    theirs = [{"wall": (1.0 + i) * (2 + i), "cpu": 3.0} for i in range(3)]
    row = {"name": "row", "kind": "loader", "agreement": {"pixels": 0.0}}
    row["samples"] = {"ours": ours, "PIL, DataLoader": theirs}
    (found,) = train_report.ratio_rows(row)
    assert found["wall"] == pytest.approx({"median": 3.0, "p10": 2.2, "p90": 3.8})
    assert found["cpu"] == pytest.approx({"median": 1.5, "p10": 1.5, "p90": 1.5})
    with pytest.raises(ValueError, match=r"row: the sides differ by 1.0e-01 \(pixels\), so the row is void"):
        train_report.ratio_rows({**row, "agreement": {"pixels": 0.1}})
