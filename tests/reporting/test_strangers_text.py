"""Names, errors and notes of records that want to act: in every report, on a terminal, as a file's name."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import re
from itertools import pairwise

import pytest
from handmade import fidelity, record
from markdown_it import MarkdownIt

from benchbench.plugins import Column
from benchbench.reporting.leaderboard import chosen_reports, write_leaderboard
from benchbench.reporting.plots import write_plots
from benchbench.reporting.text import markdown_text, print_table
from benchbench.results.folder import write_record
from benchbench.results.table import build_table

TEXTS = (
    "=HYPERLINK(1)",
    "@SUM(A1)",
    "+1",
    "\t=1",
    "\r=2",
    "-2+3",
    "<img src=x>",
    "![x](http://evil/p.png)",
    "[go](javascript:alert(1))",
    "[1]: http://evil",
    "a|b\\|c\\",
    "# head\n## more\n```\ncode",
    "\x1b]0;owned\x07\x1b[31mred\x1b[2J",
    "[bold]x[/bold][link=http://e]y[/link]:smile:",
    "\u202egnp.exe\x9b2J\x85",
    "$\\frac{1}{0}$ $x",
    "../../../../escaped",
    "long" * 300,
    "日本語 😀",
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def study(text):
    """Return records that say ``text`` wherever a stranger can: each part once alone, then everywhere."""
    found = []
    for number in range(2):
        metrics = fidelity(3.0 + number) | {text: {text: 0.5, "extractor": text, "n_score": 1}}
        everywhere = dict.fromkeys(("data", "aug", "learner", "test", "subset", "preset"), text)
        shared = {"arch": f"{text}{number}", "correct": 100 + number, "metrics": metrics}
        for gen in ("real", text):
            found += [record(gen, **shared), record(gen, **shared, **everywhere)]
            found.append(record(gen, **{**shared, "arch": "a"}, **everywhere, more={text: text * (number + 1)}))
        found.append(record(text, arch=f"broken{number}", error=f"ValueError: {text}"))
    said = [dataclasses.replace(item.provenance, notes=(text,), environment=text) for item in found]
    columns = [item.metric_columns | {text: (Column(text, text, 2, "more"),)} for item in found]
    parts = zip(found, said, columns, strict=True)
    return [dataclasses.replace(item, provenance=by, metric_columns=own) for item, by, own in parts]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers") / "results"
    for text in TEXTS:
        for item in study(text):
            write_record(folder, item)
    (folder / "figures").mkdir()
    (folder / "figures" / "x](http:evil) <img>.png").write_bytes(b"")
    assert write_leaderboard(folder, chosen_reports(["csv", "markdown"])).problems == []
    return folder


def test_no_cell_of_the_csv_file_is_computed(results):
    table = list(csv.reader(io.StringIO((results / "leaderboard.csv").read_text("utf-8"))))
    assert len({len(row) for row in table}) == 1
    for cell in itertools.chain.from_iterable(table):
        assert not re.match(r"[=+@\t\r]|-\D", cell)
        assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202e]", cell)
    assert {row[1] for row in table} >= {"'=HYPERLINK(1)", "'\t=1", r"'\r=2", "real", "日本語 😀"}


def test_markdown_has_nothing_but_text_and_our_figures(results):
    page = (results / "leaderboard.md").read_text("utf-8")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", page)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
    inline = [child for token in tokens for child in token.children or []]
    assert {child.type for child in inline} == {"text", "softbreak", "image"}
    (figure,) = (child for child in inline if child.type == "image")
    assert figure.attrs["src"] == "figures/x%5D%28http%3Aevil%29%20%3Cimg%3E.png"
    assert "".join(child.content for child in figure.children) == "x](http:evil) <img>.png"
    assert page.count("\n| --") == sum(token.type == "table_open" for token in tokens)
    headings = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    assert len(headings) == len(re.findall(r"(?m)^##? ", page))


def test_figures_are_drawn_where_they_belong(tmp_path):
    text = "$\\frac{1}{0}$ $x ../../../../escaped\x1b[31m\n😀" + "long" * 200
    results = tmp_path / "a" / "b" / "results"
    results.mkdir(parents=True)
    paths = write_plots(build_table(study(text)), results)
    assert len({path.parent for path in paths}) == 2
    assert len(paths) >= 6
    assert all(path.is_relative_to(results / "figures") and ".." not in path.parts for path in paths)
    assert {path for path in tmp_path.rglob("*.png")} == set(paths)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_terminal_and_a_pipe_show_it_and_it_does_nothing(monkeypatch, text):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    table = build_table(study(text))
    for stream in (Terminal(), io.StringIO()):
        print_table(table, stream)
        plain = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", plain)
        if text.startswith("["):
            assert text in plain
        if text[0] == "\x1b":
            assert r"\x1b]0;owned\x07\x1b[31mred\x1b[2J" in plain
            assert "\x1b[31mred" not in stream.getvalue()


def test_an_output_of_few_signs_gets_what_it_can_show():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    print_table(build_table([record(gen, aug=aug) for gen in ("real", "日") for aug in ("default", "mixup")]), stream)
    stream.flush()
    assert b"\\u65e5" in stream.buffer.getvalue()
    assert b"+- is half of the 95 % interval" in stream.buffer.getvalue()


def test_our_own_marks_and_names_are_not_escaped():
    old = record(code="c0", created="2026-01-01T00:00:00+00:00")
    page = markdown_text(build_table([record(), old, record("real")]))
    assert "| 75.0 [1] " in page
    assert "- [2] Newest code only" in page
    interval = markdown_text(build_table([record(replicate=seed, correct=150 - seed) for seed in (0, 1)]))
    assert re.search(r"\| 74\.8 \[\d\d\.\d, \d\d\.\d\] +\|", interval)
    assert "\\" not in page + interval
