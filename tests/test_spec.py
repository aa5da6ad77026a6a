"""The one spelling of plugins, chains, mixes and sweeps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchbench.errors import UsageError
from benchbench.planning.spec import (
    Spec,
    chain_text,
    comma_list,
    integer,
    parse_chain,
    parse_mix,
    parse_spec,
    parse_sweep,
)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
#: What a value may be: anything but a comma followed by what reads as another key, and no space at the ends.
TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters=",=+"), max_size=12)
SPECS = st.builds(Spec, NAMES, st.dictionaries(KEYS, TEXTS, max_size=4))


@given(SPECS)
def test_a_spec_survives_its_own_text(spec):
    assert parse_spec(str(spec)) == spec


@given(st.lists(SPECS, min_size=1, max_size=3))
def test_a_chain_survives_its_own_text(chain):
    assert parse_chain(chain_text(chain)) == tuple(chain)


@given(
    st.dictionaries(
        KEYS,
        st.one_of(
            st.booleans(),
            st.integers(-(10**6), 10**6),
            st.floats(allow_nan=False, allow_infinity=False),
            st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=3).map(tuple),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_typed_values_keep_their_number(values):
    """Also 1e+22, whose plus joins no links, and values that six digits would round."""
    (link,) = parse_chain(str(Spec("g", values)))
    for name, value in values.items():
        if isinstance(value, bool):
            assert link.values[name] == str(value).lower()
        elif isinstance(value, tuple):
            assert tuple(map(float, link.values[name].split("/"))) == value
        else:
            assert float(link.values[name]) == value


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("real", "real", {}),
        ("diffinv:guidance_scale=2/3/4", "diffinv", {"guidance_scale": "2/3/4"}),
        ("diffinv:guidance-scale=3", "diffinv", {"guidance_scale": "3"}),
        ("g:lr=1e+3,steps=2", "g", {"lr": "1e+3", "steps": "2"}),
        ("folder:path=/data/a,b/c,flip=no", "folder", {"path": "/data/a,b/c", "flip": "no"}),
        ("folder:path=/data/x=y", "folder", {"path": "/data/x=y"}),
        ("./mine.py:factor=2", "./mine.py", {"factor": "2"}),
        ("g:name=", "g", {"name": ""}),
        (" g:a=1 ", "g", {"a": "1"}),
    ],
)
def test_what_a_text_means(text, name, values):
    assert parse_spec(text) == Spec(name, values)


def test_a_chain_splits_between_links_only():
    chain = parse_chain("knn:pool=./p++q+./a++++b.py")
    assert [(link.name, dict(link.values)) for link in chain] == [("knn", {"pool": "./p+q"}), ("./a++b.py", {})]
    assert chain_text(chain) == "knn:pool=./p++q+./a++++b.py"
    chain = parse_chain("diffinv:lr=1e+3,scale=2+clip-filter:keep=0.5+./own.py")
    assert [str(link) for link in chain] == ["diffinv:lr=1e+3,scale=2", "clip-filter:keep=0.5", "./own.py"]


def test_equal_specs_have_one_hash_whatever_the_order():
    one, two = Spec("g", {"a": "1", "b": "2"}), Spec("g", {"b": "2", "a": "1"})
    assert one == two
    assert len({one, two}) == 1


def test_setting_a_value_leaves_the_old_spec_alone():
    old = Spec("g", {"a": "1"})
    assert old.with_value("a", "2") == Spec("g", {"a": "2"})
    assert old == Spec("g", {"a": "1"})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'': a plugin's name is missing; write name:key=value,key=value"),
        (":a=1", "':a=1': a plugin's name is missing; write name:key=value,key=value"),
        ("g:a=1,a=2", "g:a: given twice"),
        ("g:a-b=1,a_b=2", "g:a_b: given twice"),
        ("g:fast", "g:fast: 'fast' is not key=value; write g:key=value,key=value"),
    ],
)
def test_a_text_that_means_nothing(text, told):
    with pytest.raises(UsageError) as error:
        parse_spec(text)
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("+mixup", "+mixup: a plugin's name is missing before the +; write NAME+mixup"),
        ("mixup+", "mixup+: a plugin's name is missing behind the +; write mixup+NAME"),
    ],
)
def test_a_chain_that_lacks_a_link(text, told):
    with pytest.raises(UsageError) as error:
        parse_chain(text)
    assert str(error.value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "--count: no number given"),
        ("1,2", "--count 1,2: must be a whole number"),
        ("0", "--count 0: must be at least 1"),
        (6, "--count 6: must be at most 5"),
    ],
)
def test_one_number_within_limits(value, told):
    assert integer("5", "--count", 1, 5) == 5
    with pytest.raises(UsageError) as error:
        integer(value, "--count", 1, 5)
    assert str(error.value) == told


def test_comma_lists_repeat_and_split():
    assert comma_list(["a, b", "c,a", ","]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("0", "--shots 0: must be at least 1"), ("two", "--shots two: must be a whole number"), ("1.5", "whole number")],
)
def test_numbers_of_images(text, told):
    with pytest.raises(UsageError, match=told):
        integer(text, "--shots", 1)


@pytest.mark.parametrize(("text", "mix"), [("1:3", (1, 3)), ("0:1", (0, 1)), ("2:6", (1, 3)), ("0:7", (0, 1))])
def test_a_mix_is_a_ratio(text, mix):
    assert parse_mix(text) == mix


@pytest.mark.parametrize("text", ["", "1", "1:", "a:b", "-1:2", "1:2:3", "1/2", "0:0", "00:0", "1:0"])
def test_a_mix_that_is_none(text):
    with pytest.raises(UsageError, match=f"^--mix {text}: "):
        parse_mix(text)


def test_a_sweep():
    assert parse_sweep("gen.noise-strength=0,0.1, 0.2") == ("gen", "noise_strength", ("0", "0.1", "0.2"))
    assert parse_sweep("aug.lambda=2/3,4") == ("aug", "lambda", ("2/3", "4"))


@pytest.mark.parametrize("text", ["noise=1", "gen.noise", "gen.noise=", "gen.noise=,", "model.a=1"])
def test_a_sweep_that_is_none(text):
    with pytest.raises(UsageError, match=f"^--sweep {text}: "):
        parse_sweep(text)
