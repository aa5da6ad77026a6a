"""Commands that plugin packages add: listed, run, and broken ones said in one line."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from benchbench.cli import extensions, run_command

SOUND = """
import typer

app = typer.Typer(help="Weigh things.")


@app.callback()
def _group() -> None:
    pass


@app.command()
def feather(name: str) -> None:
    "Weigh a feather."
    from benchbench.errors import UsageError

    if name == "stone":
        raise UsageError("stone: is no feather")
    print(f"{name} weighs nothing")
"""


@pytest.fixture
def weigh(tmp_path, monkeypatch):
    (tmp_path / "weighing.py").write_text(SOUND, "utf-8")
    (tmp_path / "notyper.py").write_text("app = 3\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    values = {"weigh": "weighing:app", "broken": "no_such_module:app", "number": "notyper:app", "list": "weighing:app"}
    points = [importlib.metadata.EntryPoint(name, value, extensions.GROUP) for name, value in values.items()]
    monkeypatch.setattr(extensions, "_points", lambda: points)
    yield
    for name in ("weighing", "notyper"):
        sys.modules.pop(name, None)


def test_a_package_adds_a_command(weigh, capsys):
    assert run_command(["weigh", "feather", "down"]) == 0
    assert capsys.readouterr().out == "down weighs nothing\n"


def test_its_errors_are_one_line_like_ours(weigh, capsys):
    assert run_command(["weigh", "feather", "stone"]) == 2
    assert capsys.readouterr().err == "bench: stone: is no feather\n"


def test_it_is_listed_behind_our_own_and_a_broken_one_with_its_reason(weigh, capsys):
    assert run_command(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.index("  check ") < out.index("  weigh ")
    assert "Weigh things." in out
    assert "Broken command of no_such_module" in out


@pytest.mark.parametrize(("name", "why"), [("broken", "no_such_module"), ("number", "is no typer.Typer")])
def test_a_broken_command_says_so(weigh, capsys, name, why):
    assert run_command([name, "anything"]) == 2
    line, end = capsys.readouterr().err.split("\n")
    assert end == ""
    assert line.startswith(f"bench: {name}: broken command of ")
    assert why in line


def test_our_own_commands_cannot_be_replaced(weigh, capsys):
    assert run_command(["list", "dataset"]) == 0
    assert "digits" in capsys.readouterr().out
