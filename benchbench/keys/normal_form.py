"""The normal form of Python source: what is left when everything that cannot change a result is gone.

Two texts have the same normal form when they differ only in layout, comments, docstrings, the ``help=`` of a
parameter, the order of names in one import, or code that only a type checker reads. The form is the same
under every supported Python, so that a key computed under 3.11 is found again under 3.14: ``ast.dump`` is not
(it gained fields and lost empty ones), nor are the pieces of an f-string, nor the ``repr`` of text with
characters that one Unicode version can print and another cannot.

The walk keeps its own stack: a thousand chained operators are a thousand levels deep.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

#: Fields that carry no meaning for a result, or that exist in some versions of Python only.
_IGNORED_FIELDS = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
#: Keywords of ``param(...)`` that are shown and never computed with.
_SHOWN_KEYWORDS = frozenset({"help", "doc"})


class _Token(str):
    """Text that is already part of the form."""

    __slots__ = ()


def normal_form(
    tree: ast.AST, removed: Collection[ast.AST] = (), spell: Callable[[ast.AST], str | None] | None = None
) -> str:
    """Return the normal form of a syntax tree.

    Args:
        tree: the tree.
        removed: statements to leave out.
        spell: asked for every node, in order, for the text to use in its place; ``None`` for the usual one.
    """
    gone = {id(node) for node in removed}
    out: list[str] = []
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, _Token):
            out.append(item)
        elif isinstance(item, ast.AST):
            text = spell(item) if spell else None
            stack.extend(reversed(_spell(item, gone) if text is None else [_Token(text)]))
        elif isinstance(item, list):
            stack.append(_Token("]"))
            stack.extend(reversed(item))
            out.append("[")
        else:
            out.append(_constant(item))
    return "".join(out)


def nodes(tree: ast.AST, removed: Collection[ast.AST] = ()) -> Iterator[ast.AST]:
    """Yield every node that the normal form of ``tree`` keeps, parents before children."""
    gone = {id(node) for node in removed}
    stack: list[Any] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(reversed(item))
        elif isinstance(item, ast.AST):
            yield item
            stack.extend(value for _, value in reversed(_fields(item, gone)))


def _spell(node: ast.AST, gone: set[int]) -> list[Any]:
    if isinstance(node, ast.Constant):
        return [_Token(_constant(node.value))]
    if isinstance(node, ast.JoinedStr):
        pieces = _pieces(node)
        if not pieces or (len(pieces) == 1 and isinstance(pieces[0], str)):
            return [_Token(_constant(pieces[0] if pieces else ""))]  # f"abc" is "abc"
        return [_Token("JoinedStr"), pieces]
    spelled: list[Any] = [_Token(f"{type(node).__name__}(")]
    for name, value in _fields(node, gone):
        spelled += [_Token(f"{name}="), value, _Token(",")]
    return [*spelled, _Token(")")]


def _fields(node: ast.AST, gone: set[int]) -> list[tuple[str, Any]]:
    """Return the fields that matter; empty ones are left out, as newer versions of Python add some."""
    fields = []
    for name in sorted(node._fields):
        value: Any = getattr(node, name, None)
        if name in _IGNORED_FIELDS:
            continue
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            value = _kept(value, gone)
        elif name == "keywords" and isinstance(node, ast.Call) and called(node) == "param":
            value = [item for item in value if item.arg not in _SHOWN_KEYWORDS]
        elif name == "names" and isinstance(node, ast.ImportFrom):
            value = sorted(value, key=lambda alias: (alias.name, alias.asname or ""))
        elif name == "format_spec" and isinstance(value, ast.JoinedStr):
            value = value if _pieces(value) else None
        elif name == "level":
            value = value or None
        if value is not None and value != []:
            fields.append((name, value))
    return fields


def _kept(body: list[ast.stmt], gone: set[int]) -> list[ast.stmt]:
    """Return the statements that do something; an ``if TYPE_CHECKING`` leaves its ``else``."""
    kept: list[ast.stmt] = []
    for item in body:
        if id(item) in gone or isinstance(item, ast.Pass):
            continue
        if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
            continue  # a docstring, of a module, a class, a function or a field; or an ellipsis
        if isinstance(item, ast.If) and _last_name(item.test) == "TYPE_CHECKING":
            kept += _kept(item.orelse, gone)
        else:
            kept.append(item)
    return kept


def called(node: ast.AST | None) -> str | None:
    """Return the last name of what a call calls: ``"param"`` for ``parameters.param(...)``."""
    return _last_name(node.func) if isinstance(node, ast.Call) else None


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def _pieces(node: ast.JoinedStr) -> list[ast.AST | str]:
    """Return the parts of an f-string, neighbouring texts joined: Python versions split them apart."""
    pieces: list[ast.AST | str] = []
    for value in node.values:
        if not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            pieces.append(value)
        elif value.value:
            text = value.value
            if pieces and isinstance(pieces[-1], str):
                text = str(pieces.pop()) + text
            pieces.append(text)
    return pieces


def _constant(value: Any) -> str:
    """Spell a constant so that no two differ in value and agree in text."""
    if isinstance(value, str):
        return json.dumps(value)  # ASCII: the repr of text depends on the Unicode version
    if isinstance(value, bytes):
        return f"b{value.hex()};"
    if value is None or value is ... or isinstance(value, bool):
        return f"{value!r};"
    if isinstance(value, int):
        return f"{value:#x};"  # decimal text of long integers is limited
    if isinstance(value, float):
        return f"f{value.hex()};"
    if isinstance(value, complex):
        return f"c{value.real.hex()},{value.imag.hex()};"
    raise TypeError(f"no constant of Python source: {value!r}")
