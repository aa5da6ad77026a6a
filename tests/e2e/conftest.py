"""The command line as a user has it: the installed ``bench`` script, an empty folder, a private cache, no hub."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toy_images
from driving import MAIN_JOB, SCRIPT, Bench, MainJob
from toys import BARE, write_toys

#: What a user's shell may say and these tests must not hear.
UNSET = ("NO_COLOR", "FORCE_COLOR", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "BENCH_DATA", "BENCH_DEBUG", "PYTHONPATH")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of every command: no colours forced, no hub reachable, one private cache."""
    assert SCRIPT.exists(), f"{SCRIPT}: install the project first"
    private = tmp_path_factory.mktemp("private")
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return kept | {
        "BENCH_CACHE": str(private / "cache"),
        "HF_HOME": str(private / "hub"),
        "HF_ENDPOINT": "https://hub.invalid",  # a name that no resolver knows, by RFC 2606
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def bench(tmp_path: Path, environment: dict[str, str]) -> Bench:
    """``bench`` in an empty folder."""
    return Bench(tmp_path, environment)


@pytest.fixture
def toys(bench: Bench) -> Bench:
    """``bench`` in a folder with one small plugin of each kind, none of which needs torch."""
    write_toys(bench.folder)
    return bench


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Bench:
    """A folder with toy plugins, folders of images, and the results of a finished run."""
    bench = Bench(tmp_path_factory.mktemp("bad-input"), environment)
    write_toys(bench.folder)
    toy_images.write_folders(bench.folder)
    bench("run", "--gen", "./toygen.py", *BARE)
    return bench


@pytest.fixture(scope="session")
def main_job(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> MainJob:
    """Run the reduced main job once; tests read what it left and may run it again, which changes nothing."""
    folder = tmp_path_factory.mktemp("main-job")
    bench = Bench(folder, environment)
    return MainJob(bench, bench(*MAIN_JOB, "--executor", "inline"), folder / "results")
