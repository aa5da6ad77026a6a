"""A command in a fork is a command: streams, folder, exit code and end are its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import forks
import pytest
from driving import Bench
from toys import OPTIONS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are forks on Linux alone")


def test_it_says_what_a_fresh_interpreter_says(bench: Bench):
    for arguments, code in ((("--version",), 0), (("show", "real"), 0), (("plan", "gone"), 2)):
        fresh, forked = (bench(*arguments, code=code, fresh=fresh) for fresh in (True, False))
        assert (forked.out, forked.err) == (fresh.out, fresh.err)
        assert forked.out + forked.err


def test_a_command_that_is_killed_takes_none_with_it(toys: Bench):
    done = toys("run", "--gen", "./toygen.py:fail=die", *OPTIONS[2:], "--executor", "inline", code=None)
    assert done.code == -signal.SIGKILL
    assert toys("--version").code == 0


def test_one_that_takes_too_long_is_ended(toys: Bench):
    server = forks.ForkServer(toys.env, libraries=())
    with pytest.raises(subprocess.TimeoutExpired):
        server.run(["run", *OPTIONS, "--executor", "inline"], toys.folder, 1, {"TOY_PAUSE": "data"})
    assert server.process.poll() == -signal.SIGKILL
    assert not (toys.folder / "results" / "leaderboard.csv").exists()


def test_variables_and_folder_end_with_their_command(bench: Bench, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    missing = ("run", "--gen", "real", "--data", "cifar10")
    assert f"{tmp_path}/there/" in bench(*missing, code=2, BENCH_DATA=str(tmp_path / "there")).err
    done = bench.at(tmp_path / "elsewhere")(*missing, code=2)
    assert f"{tmp_path}/there/" not in done.err
