"""The normal form of source: the same under every Python, different for every difference that matters."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.keys import normal_form as normalform
from benchbench.keys.normal_form import normal_form

EVERYTHING = '''
"""Docstring."""
from __future__ import annotations
import os, sys as system
from typing import TYPE_CHECKING, Any
from . import b, a
if TYPE_CHECKING:
    from collections.abc import Iterator
else:
    Iterator = None
NUMBERS = (1, -2, 0xFF, 1_000, 1e-7, 1e400, 3.5j, True, None, ..., 10**30, 123456789012345678901234567890)
TEXTS = "é\\u2028\\U0001fae8" "joined", b"bytes\\xff", r"\\d", u"old", "\\ud800"
@decorated(arg=1)
async def f(a, /, b: int = 2, *args: Any, c, d=4, **kwargs) -> dict[str, int]:
    """Docstring."""
    async with x as y, z: await y
    async for i in g(): yield i
    return
class C(Base, metaclass=Meta):
    x: int = param(1, help="Help.", low=0)
    y: str
    """Docstring of a field."""
    def g(self, *, k=None): return lambda u, *v, w=1: (yield)
def strings(x, w):
    return (f"plain", f"{x}", f"{x!r:>{w}.{w}}", f"a{{b}}{x=}c" "d" f"{w:}", f"{x:%Y-%m}", f"{x!s:}", f"""{
        x}""", f"{'nested ' + f'{x}'}", "tail" f"", f"{x = :>3}")
def control(p):
    global G; nonlocal_ = [i async for i in p if i if not i]
    match p:
        case {"k": [1, *rest], **others} if rest: pass
        case C(x=0, y="a" | "b") as whole: del whole
        case -1 | 2.5 | None | True | os.sep: raise E from p
        case (1, _) | [*_]: assert p, "message"
        case _: ...
    while (n := next(p)) > 1 < 3 != 4: continue
    else: n @= 2; n //= 3
    for (a, b), *c in {**p}.items(): break
    try: import x.y
    except* (A, B) as e: print({1, 2}, [*p], {i: j for i, j in p}, {i for i in p}, (i for i in p))
    with (open(p) as q, r): q[1:2, ::3, ...] = p if q else ~r
    return not p and q or (await_ is not None), a[*p], p.q.r(*s, **t)
'''
EXPECTED = "8ee3f9d3cbd8a5c47727d6049ec7eb7f71493dc6359aee24367e07e23157a4b8"


def normal_hash(text):
    return hashlib.sha256(normal_form(ast.parse(text)).encode()).hexdigest()


def test_the_normal_form_is_the_same_for_ever():
    """If this fails every key of every store changes: raise the schema of the keys with it."""
    assert normal_hash(EVERYTHING) == EXPECTED


@pytest.mark.parametrize("python", ["python3.11", "python3.12", "python3.13", "python3.14"])
def test_the_normal_form_is_the_same_under_other_pythons(python, tmp_path):
    root = Path(normalform.__file__).parent
    (tmp_path / "source.txt").write_text(EVERYTHING, encoding="utf-8")
    code = (
        f"import sys, hashlib, ast; sys.path.insert(0, {str(root)!r})\n"
        "print(sys.version_info[:2], flush=True)\n"
        "from normal_form import normal_form\n"
        f"text = open({str(tmp_path / 'source.txt')!r}, encoding='utf-8').read()\n"
        "print(hashlib.sha256(normal_form(ast.parse(text)).encode()).hexdigest())"
    )
    command = shutil.which(python)
    told = {
        **os.environ,
        "PYENV_VERSION": python.removeprefix("python"),
    }  # which a shim of pyenv has to be told
    done = command and subprocess.run([command, "-I", "-c", code], capture_output=True, text=True, env=told)
    if not done or f"(3, {python.removeprefix('python3.')})" not in done.stdout:
        pytest.skip(f"no {python} here")
    assert done.stdout.split()[-1] == EXPECTED, done.stderr


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = 1", "x = '1'"),
        ("x = 'a'", "x = b'a'"),
        ("x = 0.0", "x = -0.0"),
        ("x = 1j", "x = 1.0"),
        ("x = None", "x = ..."),
        ("x = f'{a}'", "x = f'{a!r}'"),
        ("x = f'{a}b'", "x = f'{a}' , 'b'"),
        ("x = f'{a:1}'", "x = f'{a:2}'"),
        ("x = 'a', 'b'", "x = 'a,b'"),
        ("f(a, b)", "f([a, b])"),
        ("f(a)(b)", "f(a, b)"),
        ("from .a import b", "from ..a import b"),
        ("from a import b", "from .a import b"),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("{a: b, **c}", "{a: b, c: c}"),
        ("def f(a, *, b): pass", "def f(a, b): pass"),
        ("def f(*, a, b=1): pass", "def f(*, a=1, b): pass"),
        ("async def f(): pass", "def f(): pass"),
        ("param(1, low=0)", "param(1, low=1)"),
        ("f(help='a')", "f(help='b')"),
        ("match x:\n    case None: f()", "match x:\n    case True: f()"),
        ("x = [i for i in y if a if b]", "x = [i for i in y if a]"),
        ("x = a[1:]", "x = a[:1]"),
        ("raise A", "raise A from None"),
    ],
)
def test_different_programs_have_different_forms(one, two):
    assert normal_hash(one) != normal_hash(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = 'a' 'b'", 'x = "ab"'),
        ("x = f'a'", "x = 'a'"),
        ("x = f''", "x = ''"),
        ("x = 0xff", "x = 255"),
        ("x = u'a'", "x = 'a'"),
        ("x = (1,\n  2,)", "x = 1, 2"),
        ("def f():\n    'doc'\n    pass", "def f(): ..."),
        ("class A:\n    x: int = 1\n    'about x'", "class A:\n    x: int = 1"),
        ("param(1, help='a')", "parameters.param(1, help='b', doc='c')".replace("parameters.", "")),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    b()", "b()"),
        ("import typing\nif typing.TYPE_CHECKING:\n    import a", "import typing"),
    ],
)
def test_equal_programs_have_equal_forms(one, two):
    assert normal_hash(one) == normal_hash(two)


def test_texts_of_an_f_string_are_joined_as_some_pythons_split_them():
    value = ast.FormattedValue(ast.Name("x", ast.Load()), -1)
    split = [ast.JoinedStr([*(ast.Constant(text) for text in texts), value]) for texts in (["ab"], ["a", "", "b"])]
    assert normal_form(split[0]) == normal_form(split[1])


def test_a_deep_expression_is_no_problem():
    assert normal_hash(" + ".join(["x"] * 900)) != normal_hash(" + ".join(["x"] * 901))


CONSTANTS = st.one_of(
    st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=5), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(CONSTANTS, CONSTANTS)
def test_constants_are_told_apart_exactly(one, two):
    same = type(one) is type(two) and repr(one) == repr(two)
    first, second = (normal_form(ast.Constant(value)) for value in (one, two))
    assert (first == second) == same
