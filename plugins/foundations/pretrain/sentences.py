"""Descriptions of a character in the words of the captions: what ``glyph-words`` learns to write.

A description is a caption without its opening ("a photo of"): "the digit seven, bold, slanted left". It goes behind
the opening of any template. The corpus names styles that do not exclude each other, and so do descriptions.
"""

import random

from .captions import CHARACTERS, STYLES

#: Styles that exclude each other; of each group a description names one at most.
GROUPS = (
    ("bold", "thin"),
    ("slanted left", "slanted right"),
    ("tilted left", "tilted right"),
    ("handwritten", "printed"),
    ("blurry", "low resolution", "noisy", "faint"),
    ("large", "small"),
    ("wide", "narrow"),
    ("on a light background",),
)


def description(char: int, rng: random.Random) -> str:
    """Describe character `char` (an index into CHARACTERS) in up to four styles: "the digit seven, bold, tilted left".

    The name stands first and the styles behind it, as in the captions: glyph-sd does not understand "a thin
    handwritten digit seven", which it never saw.
    """
    groups = rng.sample(GROUPS, rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 4)))
    article = rng.choice(("the", "the", "a"))
    return ", ".join([f"{article} {CHARACTERS[char].name}", *(rng.choice(group) for group in groups)])


def concept(char: int, rng: random.Random) -> str:
    """Name character `char` as a user may: with an article or without, a digit as "seven", "number seven" or "7"."""
    glyph, name, _ = CHARACTERS[char]
    names = [name, name]
    if name.startswith("digit "):
        word = name.removeprefix("digit ")
        names += [word, f"number {word}", f"numeral {word}", glyph, f"digit {glyph}"]
    elif " letter " in name:
        case, _, letter = name.split()
        names += [f"{case} {letter}", f"letter {letter}"]  # "letter a" leaves the case open
    return rng.choice(("the {}", "the {}", "a {}", "{}")).format(rng.choice(names))


def vocabulary() -> list[str]:
    """Return every word and mark that concepts and descriptions are made of, sorted."""
    words = " ".join([c.name for c in CHARACTERS] + list(STYLES)).split()
    return sorted({*words, ",", "the", "a", "number", "numeral", *(c.glyph for c in CHARACTERS[:10])})


def described(text: str) -> int | None:
    """Return the character that a description by this grammar is about, ``None`` when it is not by the grammar."""
    named, *styles = text.split(", ")
    article, _, name = named.partition(" ")
    if article not in ("the", "a") or not all(style in STYLES for style in styles):
        return None
    if any(sum(style in group for style in styles) > 1 for group in GROUPS):
        return None
    return next((i for i, c in enumerate(CHARACTERS) if c.name == name), None)
