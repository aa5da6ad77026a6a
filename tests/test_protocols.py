"""The table behind `bench show paper`: whole, true to the presets, and what it says of a preset that changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from benchbench.cli.app import app
from benchbench.errors import UsageError
from benchbench.planning import protocols
from benchbench.planning.protocols import Part, Protocol, Value, as_it_is, differences, read_protocol
from benchbench.plugins.catalog import catalog, load
from benchbench.plugins.parameters import parameters


@pytest.fixture(scope="module")
def paper():
    return read_protocol("paper")


def with_value(protocol, part, name, **changes):
    def changed(item):
        values = tuple(replace(value, **changes) if value.name == name else value for value in item.values)
        return replace(item, values=values) if item.name == part else item

    return replace(protocol, parts=tuple(changed(item) for item in protocol.parts))


def test_the_table_is_what_the_presets_are(paper):
    assert list(differences(paper)) == []


def test_every_plugin_with_a_published_preset_is_in_the_table(paper):
    has_preset = {
        f"{entry.kind}/{entry.name}"
        for kind in ("generator", "learner", "augmentation", "metric")
        for entry in catalog().entries(kind)
        if entry.distribution == "benchbench"
        and any(item.preset("quick") != item.preset("paper") for item in parameters(load(entry)))
    }
    assert has_preset <= {part.name for part in paper.parts if part.plugin}
    assert len({part.name for part in paper.parts}) == len(paper.parts)
    assert all(len({value.name for value in part.values}) == len(part.values) for part in paper.parts)


def test_a_preset_that_changes_without_the_table_is_named(paper):
    then = with_value(paper, "generator/diffinv", "learning_rate", ours="0.3")
    assert list(differences(then)) == [
        "generator/diffinv: learning_rate is '0.3' in the table, '0.03' in the preset",
        "generator/diffinv: learning_rate is '0.3', published '0.03', without a word about it",
    ]
    then = with_value(paper, "experiment", "generated images per real one", ours="50", note="more")
    assert list(differences(then)) == [
        "experiment: generated images per real one is '50' in the table, '45' in the preset"
    ]


def test_parameters_that_a_table_lacks_or_invents_are_named():
    part = Part("metric/fidelity", True, "", (Value("nearest_k", "5"), Value("in words", "x", "y")), {"colour": "red"})
    assert list(differences(Protocol("", "quick", (part,)))) == [
        "metric/fidelity: extractor is not in the table; the preset has 'glyphcnn-v1'",
        "metric/fidelity: images is not in the table; the preset has '10000'",
        "metric/fidelity: reference_images is not in the table; the preset has '10000'",
        "metric/fidelity: weights is not in the table; the preset has 'none'",
        "metric/fidelity: colour is no parameter",
        "metric/fidelity: in words is 'x', published 'y', without a word about it",
    ]


def test_what_is_shown_is_the_preset_and_not_what_was_written(paper):
    then = as_it_is(with_value(paper, "generator/diffinv", "learning_rate", ours="0.3"))
    (part,) = [part for part in then.parts if part.name == "generator/diffinv"]
    assert next(value.ours for value in part.values if value.name == "learning_rate") == "0.03"
    assert part.own["sample_batch"] == "50"


def test_bench_show_paper_prints_three_columns_and_every_deviation(paper):
    shown = CliRunner().invoke(app, ["show", "paper"]).output.splitlines()
    deviating = [value for part in paper.parts for value in part.values if value.deviation]
    assert f"{len(deviating)} values differ from what was published; each says how below its part." in shown
    assert [line for value in deviating if (line := f"  * {value.name}: {value.deviation}") not in shown] == []
    rates = [line.split() for line in shown if line.split()[:1] == ["learning_rate"]]
    assert ["learning_rate", "0.03", "0.0001", "by", "default,", "0.03", "in", "the", "README", "0.03"] in rates
    listed = json.loads(CliRunner().invoke(app, ["show", "paper", "--json"]).output)
    assert [part["name"] for part in listed["parts"]] == [part.name for part in paper.parts]


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("title =", "is no protocol table ("),
        ("title = 'x'", "is no protocol table ('preset')"),
        ("title = 'x'\npreset = 'slow'\npart = []", "is about the preset 'slow'; there are quick, paper"),
        (
            "title = 'x'\npreset = 'paper'\n[[part]]\nname = 'y'\nsource = 'z'\nvalues = [{nam = 'k'}]",
            "is no protocol table (",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(text, flaw, tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setattr(protocols, "registered_file", lambda kind, name: tmp_path / "mine.toml")
    with pytest.raises(UsageError) as caught:
        read_protocol("mine")
    assert str(caught.value).startswith(f"mine: mine.toml {flaw}")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_not_registered_is_refused():
    told = CliRunner().invoke(app, ["show", "papr"]).exception
    assert str(told).startswith("papr: no such plugin (did you mean 'paper'")
    with pytest.raises(UsageError, match=r"^papr: no such protocol \(did you mean 'paper'\?\)"):
        read_protocol("papr")
