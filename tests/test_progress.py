"""What a run shows of its progress: bars on a terminal, lines elsewhere, both with an estimate."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from benchbench.cli import progress
from benchbench.cli.progress import BarDisplay, PlainDisplay, make_display
from benchbench.planning.estimates import Timings
from benchbench.planning.steps import Step


def step(name: str, guess: float | None = 10.0) -> Step:
    return Step("train", name, {"name": name}, {}, (), "t", 1.0, guess)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


A, B = step("train a"), step("train b")
DONE = {"status": "done", "seconds": 4.0}


def test_lines_say_what_starts_and_ends_and_what_is_left(tmp_path):
    out = io.StringIO()
    display = PlainDisplay({A.key: A, B.key: B}, Timings(tmp_path), 1, out)
    display.started(A)
    display.event(A, {"what": "log", "text": "a remark"})
    display.finished(A, DONE)
    display.started(B)
    display.failed(B, "out of memory")
    assert out.getvalue().splitlines() == [
        "[0/2] train a",
        "train a: a remark",
        "[1/2] train a: done in 4 s; about 4 s left in all",  # its like take as long
        "[1/2] train b",
        "[2/2] train b: failed: out of memory",
    ]


def test_progress_within_a_step_is_said_now_and_then(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    out = io.StringIO()
    display = PlainDisplay({A.key: A}, Timings(tmp_path), 1, out)
    display.started(A)
    for clock.now in (1.0, 9.0, 20.0, 21.0):
        display.event(A, {"what": "progress", "done": clock.now, "total": 40, "unit": "steps"})
    assert out.getvalue().splitlines()[1:] == ["[0/1] train a: 20.0/40 steps, about 20 s left"]


def test_bars_leave_lines_behind_and_are_gone_when_a_step_ends(tmp_path, capsys):
    display = BarDisplay({A.key: A, B.key: B}, Timings(tmp_path), 1)
    display.started(A)
    display.event(A, {"what": "progress", "done": 1, "total": 2, "unit": "steps"})
    assert [task.description for task in display.bars.tasks] == ["all steps", "train a"]
    display.finished(A, DONE)
    display.failed(B, "its input failed")  # it never started
    assert [(task.description, task.completed) for task in display.bars.tasks] == [("all steps", 2)]
    display.close()
    shown = capsys.readouterr().err
    assert "[1/2] train a: done in 4 s; about 4 s left in all" in shown
    assert "[2/2] train b: failed: its input failed" in shown


@pytest.mark.parametrize("kind", [PlainDisplay, BarDisplay])
def test_a_step_that_another_run_works_on_is_not_shown_as_running_until_it_is(tmp_path, capsys, kind):
    display = kind({A.key: A, B.key: B}, Timings(tmp_path), 1)
    for text in ("another run works on it (process 7)", None):
        if text:
            display.started(A)
        display.busy(A, text)
        assert (display.running, len(display.left)) == ({}, 2)
    if kind is BarDisplay:
        assert [task.description for task in display.bars.tasks] == ["all steps"]
    display.event(A, {"what": "log", "text": "the other run let go of it, this one works on it"})
    assert list(display.running) == [A.key]
    if kind is BarDisplay:
        assert [task.description for task in display.bars.tasks] == ["all steps", "train a"]
    display.busy(A, None)
    display.finished(A, {"status": "cached", "seconds": 4.0})
    display.close()
    said = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert said.count("train a: another run works on it (process 7)") == 1
    assert "train a: the other run let go of it, this one works on it" in said
    assert "[1/2] train a: done by another run; about 10 s left in all" in said


@pytest.mark.parametrize(
    ("term", "todo", "kind"),
    [("xterm", {A.key: A}, BarDisplay), ("dumb", {A.key: A}, PlainDisplay), ("xterm", {}, PlainDisplay)],
)
def test_bars_are_for_terminals_that_can_show_them(tmp_path, monkeypatch, term, todo, kind):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    display = make_display(todo, Timings(tmp_path), 1)
    display.close()
    assert type(display) is kind


def test_what_a_step_says_and_is_called_does_not_act(tmp_path, monkeypatch):
    label, said = "sample [bold]x[/bold] \x1b]0;owned\x07\n[1/1] fake", "done\n\x1b[2Jbench: all is well :smile:"
    step_ = step(label)
    out = io.StringIO()
    plain = PlainDisplay({step_.key: step_}, Timings(tmp_path), 1, out)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    bars = BarDisplay({step_.key: step_}, Timings(tmp_path), 1)
    for display in (plain, bars):
        display.started(step_)
        display.event(step_, {"what": "log", "text": said})
        display.failed(step_, said)
        display.close()
    shown = r"sample [bold]x[/bold] \x1b]0;owned\x07\n[1/1] fake"
    assert out.getvalue().splitlines() == [
        f"[0/1] {shown}",
        rf"{shown}: done\n\x1b[2Jbench: all is well :smile:",
        rf"[1/1] {shown}: failed: done\n\x1b[2Jbench: all is well :smile:",
    ]
    assert shown in screen.getvalue()
    assert rf"{shown}: done\n\x1b[2Jbench: all is well :smile:" in screen.getvalue()
    assert "\x1b]" not in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()
