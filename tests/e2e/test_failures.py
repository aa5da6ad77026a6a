"""What only execution finds, and damage: recorded or repaired, exit code 1, and the rest goes on."""

from __future__ import annotations

import shutil

import pytest
from looking import hashes, records

DATA = ("--data", "./toydata.py")
LEARN = (
    "--learner",
    "./toylearner.py",
    "--arch",
    "a",
    "--metric",
    "none",
    "--executor",
    "inline",
    "--seeds",
    "1",
    "--mix",
    "0:1",
)
TOY = (*DATA, *LEARN)
GEN = (*DATA, *LEARN, "--gen")
BLEND = (*GEN, "./toygen.py")


# -- what only execution can find --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        ("fit", "RuntimeError: the toy broke as asked (toygen.py:"),
        ("sample", "ValueError: no sample today (toygen.py:"),
        ("memory", "out of memory"),
        ("count", "toygen.py: made 270 images where 300 were asked for (n_syn)"),
        ("die", "out of memory, most likely: its process was killed; "),
    ],
)
def test_a_failing_cell_is_recorded_and_the_others_go_on(finished, fail, error):
    results = finished.folder / f"failed-{fail}"
    shutil.copytree(finished.folder / "results", results)
    before = hashes(results, "artifacts", "records")
    how = ("--executor", "processes", "--workers", "1") if fail == "die" else ()
    gens = ("--gen", f"./toygen.py:fail={fail}", "--gen", "./toygen.py:strength=9")
    done = finished("run", *gens, *TOY, *how, "--results", results.name, code=1)
    stage = "sample" if fail in ("sample", "count") else "fit"
    cause = f"bench: 1 cell failed: {stage} toygen.py:fail={fail} toy"
    assert [line.startswith(cause) and error in line for line in done.errors] == [True]
    after = hashes(results, "artifacts", "records")
    assert {name: after.get(name) for name in before} == before
    found = {record["cell"]["gen"]: record for record in records(results)}
    assert set(found) == {"real", "toygen.py", "toygen.py:strength=9", f"toygen.py:fail={fail}"}
    assert error in found.pop(f"toygen.py:fail={fail}")["error"]
    assert {record["status"] for record in found.values()} == {"done"}
    assert "failed (" in done.out
    assert "failed (" in (results / "leaderboard.md").read_text()


def test_a_failing_metric_hides_no_accuracy(finished):
    source = (finished.folder / "toymetric.py").read_text()
    (finished.folder / "torn.py").write_text(source.replace("pause(", "raise RuntimeError('torn'); pause("))
    options = (*DATA, "--learner", "./toylearner.py", "--arch", "a", "--metric", "./torn.py", "--executor", "inline")
    done = finished("run", "--gen", "real", *options, "--results", "torn", code=1)
    (found,) = records(finished.folder / "torn")
    assert found["status"] == "done"
    assert "RuntimeError: torn" in found["metrics"]["torn.py"]["error"]
    assert [line.startswith("bench: metric torn.py failed ") for line in done.errors] == [True]
    assert "RuntimeError: torn (torn.py:" in done.err


# -- damage ------------------------------------------------------------------------------------------------------------


def test_a_corrupt_artifact_is_named_and_made_again(finished):
    results = finished.folder / "damaged"
    shutil.copytree(finished.folder / "results", results)
    before = hashes(results, "records")
    made = next(path for path in results.glob("artifacts/*/*/images.npy"))
    whole = made.read_bytes()
    made.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    key = made.parent.name
    verified = finished("cache", "verify", "--results", "damaged", code=1)
    assert verified.out.startswith(f"{key}: images.npy: checksum ")
    assert verified.out.endswith(" artifacts, 1 corrupt\n")
    done = finished("run", *BLEND, "--results", "damaged")
    assert done.errors[0].startswith(f"bench: corrupt artifact {key[:12]} (sample toygen.py toy): ")
    assert done.errors[0].endswith("; it is made again")
    assert made.read_bytes() == whole
    assert "0 corrupt" in finished("cache", "verify", "--results", "damaged").out
    assert {name.rpartition("/")[2] for name in hashes(results, "records")} == {n.rpartition("/")[2] for n in before}


def test_a_broken_record_is_reported_and_the_others_are_kept(finished):
    results = finished.folder / "torn-record"
    shutil.copytree(finished.folder / "results", results)
    before = hashes(results, "artifacts", "records")
    (results / "records" / "broken.json").write_text('{"schema": 1,')
    reported = finished("report", "--results", results.name, code=1)
    assert [line.startswith("bench: records/broken.json: not valid JSON") for line in reported.errors] == [True]
    assert "toygen.py" in reported.out
    done = finished("run", *BLEND, "--results", results.name)
    assert [line.startswith("bench: records/broken.json: not valid JSON") for line in done.errors] == [True]
    assert hashes(results, "artifacts", "records") == before | {
        "records/broken.json": hashes(results, "records")["records/broken.json"]
    }


def test_a_broken_third_party_plugin_is_listed_and_breaks_nothing(finished, tmp_path):
    package = tmp_path / "torn_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('torn on purpose')\n")
    info = tmp_path / "torn_package-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torn-package\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[benchbench.generators]\ntorn = torn_package:Torn\n")
    path = {"PYTHONPATH": str(tmp_path)}
    listed = finished("list", "generators", **path).out
    line = next(line for line in listed.splitlines() if line.split()[0] == "torn")
    assert "BROKEN: broken generator of torn-package: ImportError: torn on purpose (__init__.py:1)" in line
    assert line.endswith("[torn-package 1.2]")
    finished("run", *BLEND, "--results", "beside-torn", **path)
    said = finished("run", *GEN, "torn", code=2, **path).err
    assert said == "bench: torn: broken generator of torn-package: ImportError: torn on purpose (__init__.py:1)\n"
    examined = finished("doctor", code=None, **path)
    assert "generator torn" in examined.out
