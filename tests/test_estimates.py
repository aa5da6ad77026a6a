"""How long it will take, and how that is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchbench.planning import estimates
from benchbench.planning.estimates import Backlog, Timings, Total, by_stage, duration, prior
from benchbench.planning.resolved import resolve
from benchbench.planning.spec import parse_spec
from benchbench.planning.steps import Step
from benchbench.plugins.catalog import catalog, load
from benchbench.plugins.parameters import parameters
from benchbench.testing import tiny_info

PRIORS = json.loads((Path(__file__).parent.parent / "plugins" / "estimates.json").read_text("utf-8"))
INFO = replace(tiny_info(), counts={"train": 20, "validation": 8, "test": 100}, foundation="glyph-sd")


def step(name: str, *inputs: Step, timing: str = "t", units: float = 1.0, guess: float | None = None) -> Step:
    return Step("fit", name, {"name": name}, {}, tuple(item.key for item in inputs), timing, units, guess)


def test_a_plugin_guesses_until_a_step_was_measured(tmp_path):
    timings = Timings(tmp_path)
    small, large = step("small", units=10, guess=100.0), step("large", units=40)
    assert timings.estimate(small) == 100.0
    assert timings.estimate(large) is None
    timings.learn(small, 5.0)
    assert timings.estimate(small) == 5.0
    assert timings.estimate(large) == pytest.approx(20.0)
    assert timings.estimate(step("other", timing="u")) is None


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 9), st.none() | st.floats(0, 9)), max_size=30), st.data()
)
def test_a_backlog_is_the_sum_of_its_steps(rows, data):
    steps = [step(f"{n}", timing=timing, units=units, guess=guess) for n, (timing, units, guess) in enumerate(rows)]
    timings = Timings(Path("nowhere"))
    timings.known = {"a": 2.0}
    backlog, left = Backlog(steps, timings), list(steps)
    for place in data.draw(st.sets(st.sampled_from(range(len(steps)))) if steps else st.just(set())):
        backlog.remove(steps[place])
        left.remove(steps[place])
    expected = [timings.estimate(item) for item in left]
    assert len(backlog) == len(left)
    assert backlog.total().unknown == expected.count(None)
    assert backlog.total().seconds == pytest.approx(sum(value or 0.0 for value in expected), abs=1e-9)


def test_the_last_step_takes_its_time_however_many_workers_there_are(tmp_path):
    backlog = Backlog([step("a", guess=10.0), step("b", guess=10.0)], Timings(tmp_path))
    assert backlog.total(4).seconds == 10.0
    backlog.remove(step("b", guess=10.0))
    assert backlog.total(4).seconds == 10.0


def test_the_newest_measurement_counts_half(tmp_path):
    timings = Timings(tmp_path)
    timings.learn(step("a"), 8.0)
    timings.learn(step("a"), 4.0)
    assert timings.estimate(step("a")) == 6.0


def test_what_was_learned_is_kept(tmp_path):
    timings = Timings(tmp_path)
    timings.learn(step("a", units=4), 8.0)
    timings.save()
    assert Timings(tmp_path).estimate(step("b", units=3)) == 6.0


def test_what_was_learned_and_cannot_be_kept_costs_no_run(tmp_path):
    (tmp_path / "timings.json").mkdir()
    timings = Timings(tmp_path)
    timings.learn(step("a"), 8.0)
    timings.save()
    assert timings.estimate(step("b")) == 8.0


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"t": "x"}', '{"t": null}', "\ufeff3"])
def test_a_damaged_memory_is_begun_anew(tmp_path, text):
    (tmp_path / "timings.json").write_text(text, "utf-8")
    timings = Timings(tmp_path)
    assert timings.estimate(step("a", guess=3.0)) == 3.0
    timings.learn(step("a"), 2.0)
    timings.save()
    assert json.loads((tmp_path / "timings.json").read_text()) == {"t": 2.0}


def test_workers_share_the_work_but_not_one_step(tmp_path):
    timings = Timings(tmp_path)
    first = step("first", guess=10.0)
    steps = [first, *(step(f"s{number}", first, guess=4.0) for number in range(4))]
    assert timings.total(steps) == Total(26.0, 0)
    assert timings.total(steps, 2) == Total(14.0, 0), "ten seconds alone, then four at best"
    assert timings.total(steps, 100) == Total(14.0, 0)
    assert timings.total([*steps, step("unknown")], 1) == Total(26.0, 1)
    assert timings.total([], 4) == Total(0.0, 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (200, "3 min 20 s"),
        (599.7, "10 min"),
        (660, "11 min"),
        (3569, "59 min"),
        (3571, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (3600 * 47.99, "47 h 59 min"),
        (86400 * 3.14, "3.1 days"),
    ],
)
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text


def test_steps_by_stage_keep_their_order():
    steps = [step("a"), Step("train", "b", {}, {}, (), "t"), step("c")]
    assert {stage: [item.label for item in found] for stage, found in by_stage(steps).items()} == {
        "fit": ["a", "c"],
        "train": ["b"],
    }


# Priors: what a distribution measured


@pytest.mark.parametrize(
    ("kind", "text", "stage", "images", "seconds"),
    [
        ("generator", "prompt:num_inference_steps=20", "sample", 500, 8 + 500 * (0.002 + 20 * 0.0036)),
        ("generator", "diffinv:checkpoints=40", "fit", 50, 10 + 50 * 40 * 0.0042),
        ("generator", "vae", "transform", 100, 7 + 100 * 32 * 32 * 3e-6),
        ("generator", "vae:model=some/other", "transform", 100, None),
        ("generator", "prompt:model=some/other", "sample", 500, None),
        ("generator", "prompt", "fit", 500, None),
        ("generator", "real", "sample", 500, None),
        ("generator", "real-guidance:strength=0.5,num_inference_steps=20", "sample", 9, 8 + 9 * (0.004 + 10 * 0.0036)),
        ("learner", "clip-zeroshot", "train", 0, 6 + 100 * 0.0005),
        ("learner", "coop:steps=20,batch_size=8", "train", 0, 6 + 20 * (8 * 0.00025 + 4 * 0.0005)),
        ("learner", "coop", "train", 0, None),
    ],
)
def test_priors_are_products_of_parameters_and_counts(kind, text, stage, images, seconds):
    found = prior(resolve(kind, parse_spec(text), "quick", INFO), stage, images, INFO)
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("name", PRIORS)
def test_every_prior_names_a_plugin_and_its_parameters(name):
    kind, _, plugin = name.partition("/")
    cls = load(catalog().get(kind, plugin))
    known = {item.name for item in parameters(cls)}
    for row in PRIORS[name]:
        assert set(row.get("with", {})) <= known
        for stage, terms in row.items():
            if stage != "with":
                assert stage in ("data", "fit", "sample", "transform", "train", "score")
                named = {factor for product in terms for factor in product.split("*")}
                assert named <= known | {"1", "images", "test", "classes"}
                assert all(unit > 0 for unit in terms.values())


def test_an_estimate_of_the_plugin_comes_before_the_prior(monkeypatch):
    resolved = resolve("generator", parse_spec("prompt"), "quick", INFO)
    monkeypatch.setattr(type(resolved.plugin), "seconds", lambda self, stage, images, info: 2.5)
    assert prior(resolved, "sample", 500, INFO) == 2.5


@pytest.mark.parametrize(
    "rows",
    [
        [{"sample": {"images*no_such_parameter": 1}}],
        [{"with": {"no_such_parameter": 1}, "sample": {"1": 1}}],
        [{"with": [], "sample": {"1": 1}}],
        [{"sample": {"images": "8"}}],
        [{"sample": {"model": 1.5}}],
        [{"sample": {"images": -1.0}}],
        [{"sample": 8}],
        ["sample"],
        8,
    ],
)
def test_a_mistake_in_a_file_of_priors_keeps_nobody_from_a_plan(monkeypatch, rows):
    monkeypatch.setattr(estimates, "_priors", lambda package: {"generator/prompt": rows})
    assert prior(resolve("generator", parse_spec("prompt"), "quick", INFO), "sample", 500, INFO) is None


@pytest.mark.parametrize("guess", [lambda: 1 / 0, lambda: "long", lambda: float("nan")])
def test_an_estimate_of_a_plugin_that_fails_is_unknown(monkeypatch, guess):
    resolved = resolve("generator", parse_spec("prompt"), "quick", INFO)
    monkeypatch.setattr(type(resolved.plugin), "seconds", lambda self, stage, images, info: guess())
    assert prior(resolved, "sample", 500, INFO) is None
