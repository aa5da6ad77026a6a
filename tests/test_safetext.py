"""Text that others wrote, in each medium: it is read, and does nothing."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from benchbench.safetext import encodable, in_csv, in_markdown, on_a_line

OBEYED = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
#: What Markdown is made of, next to one another as often as other text.
MARKS = [*"\\`*_~|$<>&[](){}!#+-=:;.@1a x\n\t\x1b", "](", "www.", "http://", "&lt;", "\u202e"]
TEXTS = st.text() | st.lists(st.sampled_from(MARKS)).map("".join)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 日本 😀", "plain, größer, 日本 😀"),
        ("a\tb", "a\tb"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("one\nbench: two\r", r"one\nbench: two\r"),
        ("\x9b2J\x7f\x85", r"\x9b2J\x7f\x85"),
        ("\u202egnp.exe\u2066\u2028", r"\u202egnp.exe\u2066\u2028"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_what_a_terminal_obeys_is_spelled_out(text, shown):
    assert on_a_line(text) == shown


def test_a_sign_that_an_output_lacks_is_spelled_out():
    assert encodable("± 😀", io.TextIOWrapper(io.BytesIO(), "latin-1")) == "± \\U0001f600"
    assert encodable("± 😀", io.StringIO()) == "± 😀"


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-1+1", "-cmd|' /C calc'!A0", "--flag", "-\n1", "- 1"),
        *("＝1", "＋1", "－1", "＠A1"),
    ],
)
def test_a_formula_gets_an_apostrophe(text):
    assert in_csv(text) == f"'{on_a_line(text)}"


@pytest.mark.parametrize("text", ["", "-", "-1", "-2.50", "-1e-5", "-3.2E+10", "a=1", "gen:x=-1+1", "1:0", "'=1"])
def test_numbers_and_other_texts_stay(text):
    assert in_csv(text) == text


@given(TEXTS)
def test_no_cell_is_computed_or_obeyed(text):
    cell = in_csv(text)
    assert not re.match(r"[=+@\t\r\n]|-[^\d]|-\d+[^\d.e]", cell)
    assert not OBEYED.search(cell)


@given(TEXTS)
def test_markdown_shows_a_text_as_it_is(text):
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    safe, shown = in_markdown(text), on_a_line(" ".join(text.split()))
    table = f"| {safe} | b |\n| - | - |\n| {safe} | c |"
    tokens = parser.parse(f"# Page\n\n## x {safe}\n\n{table}\n\n- x {safe}\n- [1] note\n")
    texts = [token for token in tokens if token.type == "inline"]
    assert {child.type for token in texts for child in token.children} <= {"text"}
    assert not {token.type for token in tokens} & {"fence", "code_block", "html_block", "hr", "blockquote_open"}
    read = ["".join(child.content for child in token.children) for token in texts]
    assert read == ["Page", f"x {shown}".strip(), shown, "b", shown, "c", f"x {shown}".strip(), "[1] note"]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("see https://evil.example and www.evil.example", r"see https\://evil.example and www\.evil.example"),
        ("$x$ ~a~", r"\$x\$ \~a\~"),
        ("timm:lr=0.1, a_b_c [1]", "timm:lr=0.1, a_b_c [1]"),
        ("<img src=x>", "&lt;img src=x>"),
        ("[1](javascript:x)", r"\[1\](javascript:x)"),
    ],
)
def test_what_github_adds_to_markdown_does_not_act_either(text, safe):
    assert in_markdown(text) == safe
