"""Where data and caches are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchbench.paths import cache_root, data_root


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ("BENCH_CACHE", "BENCH_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")


def test_defaults_lie_below_the_home_folder():
    assert cache_root() == Path("/home/ada/.cache/benchbench")
    assert data_root() == Path("/home/ada/.cache/benchbench/data")


@pytest.mark.parametrize(
    ("variables", "cache", "data"),
    [
        ({"BENCH_CACHE": "/c"}, "/c", "/c/data"),
        ({"BENCH_CACHE": "~/c", "BENCH_DATA": "~/d"}, "/home/ada/c", "/home/ada/d"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/benchbench", "/x/benchbench/data"),
        ({"XDG_CACHE_HOME": "/x", "BENCH_CACHE": "/c"}, "/c", "/c/data"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/benchbench", "/home/ada/.cache/benchbench/data"),
        (
            {"BENCH_CACHE": "", "BENCH_DATA": ""},
            "/home/ada/.cache/benchbench",
            "/home/ada/.cache/benchbench/data",
        ),
    ],
)
def test_variables_move_them(monkeypatch, variables, cache, data):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(cache)
    assert data_root() == Path(data)


def test_no_home_folder_is_no_failure(monkeypatch):
    monkeypatch.setattr(Path, "expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_root().is_absolute()
    assert cache_root().parts[-2:] == (".cache", "benchbench")
