"""Declared parameters: option, bound, preset and key at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchbench.errors import UsageError
from benchbench.plugins.parameters import build, format_value, param, parameters, values_of


@dataclass(frozen=True)
class Everything:
    """One parameter of each shape."""

    steps: int = param(10, low=1, high=1000, paper=100, help="A whole number.")
    scale: float = param(2.0, above=0.0, paper=3.0, stage="sample", help="A number.")
    fast: bool = param(False, help="A switch.")
    mode: str = param("mean", choices=("mean", "class-mean"), help="A choice.")
    model: str | None = param(None, help="Optional text.")
    scales: tuple[float, ...] = param((2.0, 3.0), low=0.0, help="A list.")
    limit: int | None = param(None, low=0, help="An optional number.")

    def __post_init__(self) -> None:
        if self.fast and self.steps > 500:
            raise ValueError("steps must be at most 500 when fast")


def make(preset: str = "quick", **values: Any) -> Everything:
    made: Everything = build(Everything, values, subject="toy", preset=preset)
    return made


def test_presets_fill_in_what_the_user_left_open():
    assert (make().steps, make().scale) == (10, 2.0)
    assert (make("paper").steps, make("paper").scale) == (100, 3.0)
    assert make("paper", steps="7").steps == 7


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "12", 12),
        ("scale", "1e-3", 0.001),
        ("scale", "3", 3.0),
        ("fast", "yes", True),
        ("fast", "OFF", False),
        ("mode", "class-mean", "class-mean"),
        ("model", "none", None),
        ("model", "CompVis/stable-diffusion-v1-4", "CompVis/stable-diffusion-v1-4"),
        ("scales", "2/3/4", (2.0, 3.0, 4.0)),
        ("scales", "5", (5.0,)),
        ("limit", "none", None),
        ("limit", "0", 0),
    ],
)
def test_texts_become_typed_values(name, text, value):
    found = getattr(make(**{name: text}), name)
    assert found == value
    assert type(found) is type(value)


def test_typed_values_are_taken_as_they_are():
    assert make(scale=3).scale == 3.0
    assert make(scales=[1, 2]).scales == (1.0, 2.0)
    assert make(scales=4.0).scales == (4.0,)
    assert make(limit=None).limit is None


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("steps", "0", "toy:steps=0: must be at least 1"),
        ("steps", "1001", "toy:steps=1001: must be at most 1000"),
        ("steps", "ten", "toy:steps=ten: must be a whole number"),
        ("steps", "1.5", "toy:steps=1.5: must be a whole number"),
        ("steps", True, "toy:steps=true: must be a whole number"),
        ("steps", None, "toy:steps=none: must not be empty"),
        ("scale", "0", "toy:scale=0: must be above 0"),
        ("scale", "nan", "toy:scale=nan: must be a finite number"),
        ("scale", "inf", "toy:scale=inf: must be a finite number"),
        ("scale", "", "toy:scale=: must be a number"),
        ("fast", "maybe", "toy:fast=maybe: must be true or false"),
        ("mode", "class", "toy:mode=class: must be one of mean, class-mean (did you mean 'class-mean'?)"),
        ("scales", "2/x", "toy:scales=2/x: must be a number"),
        ("scales", "2/-1", "toy:scales=2/-1: must be at least 0"),
        ("scales", [], "toy:scales=: must have at least one value"),
        ("step", "3", "toy:step: unknown parameter (did you mean 'steps'"),
        ("zzz", "3", "toy:zzz: unknown parameter; it has steps, scale, fast, mode, model, scales, limit"),
    ],
)
def test_one_line_for_each_mistake(name, value, told):
    with pytest.raises(UsageError) as error:
        make(**{name: value})
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


def test_parameters_that_contradict_each_other():
    with pytest.raises(UsageError, match=r"^toy: steps must be at most 500 when fast$"):
        make(steps="600", fast="true")


def test_only_what_differs_and_matters_enters_a_key():
    made = make(steps="11", scale="5", mode="mean")
    assert values_of(made) == {"steps": 11, "scale": 5.0}
    assert values_of(made, stage="fit") == {"steps": 11}
    assert values_of(made, stage="sample") == {"steps": 11, "scale": 5.0}
    assert set(values_of(made, changed_only=False)) == {item.name for item in parameters(Everything)}


def test_what_affects_no_result_enters_no_key():
    @dataclass(frozen=True)
    class Batched:
        batch: int = param(50, help="Images at once.", affects_result=False)
        resolution: int = param(32, help="Side.", stage="train")

    made = Batched(batch=7, resolution=64)
    assert values_of(made) == {"batch": 7, "resolution": 64}
    assert values_of(made, stage="fit") == values_of(made, stage="sample") == {}
    assert values_of(made, stage="train") == {"resolution": 64}


def test_the_earlier_spelling_of_it_is_refused_with_the_new_one():
    @dataclass(frozen=True)
    class Batched:
        batch: int = param(50, help="Images at once.", stage="speed")

    with pytest.raises(TypeError, match=r'^Batched.batch: write affects_result=False in place of stage="speed"$'):
        parameters(Batched)


@given(
    st.one_of(
        st.integers(1, 1000).map(lambda value: ("steps", value)),
        st.floats(1e-300, 1e300).map(lambda value: ("scale", value)),
        st.booleans().map(lambda value: ("fast", value)),
        st.lists(st.floats(0, 1e300), min_size=1, max_size=4).map(lambda value: ("scales", tuple(value))),
        st.one_of(st.none(), st.integers(0, 9**9)).map(lambda value: ("limit", value)),
    )
)
def test_every_value_survives_its_own_text(pair):
    name, value = pair
    assert getattr(make(**{name: format_value(value)}), name) == value


def test_a_field_without_param_is_refused():
    @dataclass(frozen=True)
    class Bare:
        factor: float = 1.0

    with pytest.raises(TypeError, match=r"Bare.factor: declare it with param"):
        parameters(Bare)


def test_a_type_without_a_spelling_is_refused():
    @dataclass(frozen=True)
    class Odd:
        table: dict = param(None, help="No.")

    with pytest.raises(TypeError, match=r"Odd.table: parameters are bool, int, float, str, Path or a tuple"):
        parameters(Odd)


def test_a_forgotten_decorator_is_told():
    class Forgot(Everything):
        factor: float = param(1.0, help="Never becomes a field.")

    with pytest.raises(TypeError, match=r"Forgot: decorate it with @dataclass\(frozen=True\)"):
        parameters(Forgot)
