"""The picture of an augmentation: what stands where, soft labels that fit, the same bytes again."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from PIL import Image

from benchbench.pictures.canvas import FONT, LETTER, STYLE, drawable, fitting
from benchbench.pictures.gallery import (
    CAPTION,
    GAP,
    LABEL,
    LINE,
    MARGIN,
    NARROWEST,
    WIDENED,
    Group,
    Tile,
    caption,
    draw_gallery,
)

FIRST = 2 * MARGIN + 3 * LETTER  # names of three letters
TOP = MARGIN + 2 * LINE  # one line of title, one of headings


def flat(grey: int, parts=(), side: int = 16) -> Tile:
    return Tile(np.full((side, side, 3), grey, np.uint8), parts)


def grey_at(path, *places) -> list[int]:
    with Image.open(path) as opened:
        picture = opened.convert("L")
    return [picture.getpixel(place) for place in places]


def test_every_tile_in_its_place_and_the_same_bytes(tmp_path):
    groups = [
        Group("real", [[flat(10)], [flat(20)]]),
        Group("augmented", [[flat(11), flat(12)], [flat(21), None]]),
        Group("added", [[flat(13)], [flat(23)]]),
    ]
    path = draw_gallery(["cat", "dog"], groups, ["a title " * 60], tmp_path / "deep" / "a.png")
    second = FIRST + 64 + 3 * MARGIN
    third = second + 2 * (64 + GAP) - GAP + 3 * MARGIN
    across = [FIRST, second, second + 64 + GAP, third]
    assert grey_at(path, *[(x, TOP) for x in across]) == [10, 11, 12, 13]
    assert grey_at(path, *[(x + 63, TOP + 64 + GAP + 63) for x in across]) == [20, 21, 255, 23]
    assert grey_at(path, (FIRST - 1, TOP), (FIRST + 64, TOP), (third + 64, TOP)) == [255, 255, 255]
    before = path.read_bytes()
    path.write_text("an older picture")
    draw_gallery(["cat", "dog"], groups, ["a title " * 60], path)
    assert path.read_bytes() == before
    assert draw_gallery(["cat", "owl"], groups, ["a title " * 60], path).read_bytes() != before
    assert [item.name for item in path.parent.iterdir()] == ["a.png"]


def test_soft_labels_make_room_below_every_row(tmp_path):
    parts = (("a long class name", 0.7), ("another one", 0.3))
    heights = []
    for below in ((), (("cat", 1.0),), parts):
        groups = [Group("real", [[flat(10)], [flat(20)]]), Group("augmented", [[flat(11)], [flat(21, below)]])]
        path = draw_gallery(["cat", "dog"], groups, ["title"], tmp_path / "a.png")
        with Image.open(path) as opened:
            heights.append(opened.height)
            row = np.asarray(opened.convert("L"))[-MARGIN - CAPTION :, FIRST + 100 :]
    assert heights[1] - heights[0] == 2 * CAPTION
    assert heights[2] - heights[0] == 4 * CAPTION
    assert row.min() < 100  # something is written there


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((), []),
        ((("3", 0.62), ("8", 0.38)), ["3 .62 / 8 .38"]),
        ((("3", 0.996), ("8", 0.004)), ["3"]),
        ((("3", 1.0),), ["3"]),
        ((("3", 0.5), ("8", 0.3), ("1", 0.2), ("2", 0.0)), ["3 .50", "8 .30", "1 .20"]),
        ((("3", 0.4), ("8", 0.3), ("1", 0.2), ("2", 0.1)), ["3 .40", "8 .30", "1 .20"]),
    ],
)
def test_captions(parts, expected):
    assert caption(parts, 80) == expected


def test_names_are_shortened_and_shares_are_not():
    lines = caption((("a class of many letters", 0.62), ("数字 and\nmore words", 0.38)), 64)
    assert [line[-4:] for line in lines] == [" .62", " .38"]
    assert lines[0].startswith("a c")
    assert "..." in lines[0]
    assert all(len(line) * LETTER <= 64 for line in lines)


LONG = ["a_very_long_class_name_cat", "a_very_long_class_name_dog"]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (LONG, r"a_.*\.\.\.\w+"),  # alike but for the end, which is kept
        ([LONG[0], "some_other_long_class_name"], r"\w{6,}\.\.\."),
        ([LONG[0], "cat", "dog"], r"\w{6,}\.\.\.|cat|dog"),
        (["x" * 14 + "cat" + "y" * 5, "x" * 14 + "dog" + "y" * 5], r".*\.\.\.\w*y"),
    ],
)
def test_long_names_of_two_classes_stay_apart(names, pattern):
    found = [fitting(name, 80, frozenset(names)) for name in names]
    assert all(re.fullmatch(pattern, text) and len(text) * LETTER <= 80 for text in found), found
    captions = [caption(((name, 0.6), ("z", 0.4)), 100, frozenset(names))[0] for name in names]
    assert len(set(found)) == len(set(captions)) == len(names)


def test_names_that_no_cut_tells_apart_are_numbered():
    names = ["x" * 30 + letter + "y" * 30 for letter in "ab"]
    assert [fitting(name, 60, frozenset(names)) for name in names] == ["xxxxxxxx~1", "xxxxxxxx~2"]
    assert fitting(names[0], 60) == "xxxxxxx..."


def test_no_row(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        draw_gallery([], [Group("real", [])], [], tmp_path / "a.png")


def test_names_in_any_script_stay_apart():
    assert drawable("a  cat\n") == "a cat"
    assert drawable("日本") == r"\u65e5\u672c"
    assert drawable("日月") != drawable("日本")
    assert drawable("cat\u200b\x07\udc80") == r"cat\u200b\x07\udc80"
    assert drawable("Äpfel, жук, άλφα, $a_1$") == "Äpfel, жук, άλφα, $a_1$"


def test_a_letter_is_as_wide_as_the_layout_takes_it_for():
    renderer = RendererAgg(1, 1, 72)
    font = FontProperties(family=FONT, size=STYLE["font.size"])
    for text in ("i" * 50, "W" * 50, "жЯ" * 25, "αΩ" * 25, "Äé" * 25, ".~" * 25):
        width, _, _ = renderer.get_text_width_height_descent(text, font, ismath=False)
        assert width == pytest.approx(50 * LETTER, abs=4)


def test_names_have_the_room_they_need_up_to_a_limit_and_stay_within_it(tmp_path):
    for letters, room in ((1, LETTER), (LABEL // LETTER, LABEL), (60, LABEL)):
        path = draw_gallery(["W" * letters, "V"], [Group("real", [[flat(10)], [flat(20)]])], [], tmp_path / "a.png")
        with Image.open(path) as opened:
            picture = np.asarray(opened.convert("L"))
        gap = picture[MARGIN + LINE :, MARGIN + room + 1 : 2 * MARGIN + room]
        assert (gap == 255).all()
        assert (picture[MARGIN + LINE :, 2 * MARGIN + room] == 255).sum() == MARGIN + GAP
        assert picture[MARGIN + LINE :, MARGIN + room - LETTER : MARGIN + room].min() < 128


def test_a_long_title_widens_the_picture_and_math_is_text(tmp_path):
    groups = [Group("real", [[flat(10)]])]
    widths = []
    for title in ("short", "a longer title " * 7, "a title " * 60):
        with Image.open(draw_gallery(["$a$"], groups, [title], tmp_path / "a.png")) as opened:
            widths.append(opened.width)
    assert widths == [NARROWEST, 105 * LETTER + 2 * MARGIN, WIDENED]


def test_the_users_style_changes_no_byte(tmp_path):
    groups = [Group("real", [[flat(10)]]), Group("augmented", [[flat(11, (("cat", 0.6), ("dog", 0.4)))]])]
    before = draw_gallery(["cat"], groups, ["a title"], tmp_path / "a.png").read_bytes()
    with matplotlib.rc_context({"font.size": 20, "figure.facecolor": "red", "savefig.dpi": 30, "figure.dpi": 300}):
        assert draw_gallery(["cat"], groups, ["a title"], tmp_path / "b.png").read_bytes() == before
        assert matplotlib.rcParams["font.size"] == 20
