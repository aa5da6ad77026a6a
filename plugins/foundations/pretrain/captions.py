"""The 84 characters of the corpus, their names, and captions that describe how one was drawn."""

import random
from collections.abc import Sequence
from typing import NamedTuple

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SYMBOLS = {
    "+": "plus sign",
    "-": "minus sign",
    "=": "equals sign",
    "*": "asterisk",
    "/": "slash",
    "?": "question mark",
    "!": "exclamation mark",
    "&": "ampersand",
    "%": "percent sign",
    "#": "hash sign",
    "@": "at sign",
    "$": "dollar sign",
    "(": "left parenthesis",
    ")": "right parenthesis",
    "[": "left bracket",
    "]": "right bracket",
    "{": "left brace",
    "}": "right brace",
    "<": "less sign",
    ">": "greater sign",
    "~": "tilde",
    "^": "caret",
}
TEMPLATES = (
    "a photo of the {}",
    "a photo of the {}",
    "a photo of a {}",
    "a picture of the {}",
    "an image of the {}",
)

STYLES = (
    "bold",
    "thin",
    "slanted left",
    "slanted right",
    "tilted left",
    "tilted right",
    "handwritten",
    "printed",
    "blurry",
    "low resolution",
    "noisy",
    "faint",
    "large",
    "small",
    "wide",
    "narrow",
    "on a light background",
)


class Character(NamedTuple):
    """One character: the glyph to draw, its spoken name and how often it is drawn."""

    glyph: str
    name: str
    weight: float


def characters() -> tuple[Character, ...]:
    """Return all characters; digits come first, so that character i < 10 is the digit i."""
    digits = [Character(str(i), f"digit {name}", 3.0) for i, name in enumerate(_DIGITS)]
    lower = "abcdefghijklmnopqrstuvwxyz"
    capitals = [Character(c.upper(), f"capital letter {c}", 1.0) for c in lower]
    smalls = [Character(c, f"small letter {c}", 1.0) for c in lower]
    symbols = [Character(glyph, name, 0.4) for glyph, name in _SYMBOLS.items()]
    return tuple(digits + capitals + smalls + symbols)


CHARACTERS = characters()


def caption(char: int, styles: Sequence[str], rng: random.Random) -> str:
    """Describe character `char` (an index into CHARACTERS) drawn with `styles`.

    Half of the captions are the class name alone: without that, small text encoders
    do not learn to look for it.
    """
    name = CHARACTERS[char].name
    if rng.random() < 0.1:
        # "seven" for "digit seven"; letters keep their case, which the bare name would lose.
        return name.removeprefix("digit ")
    text = rng.choice(TEMPLATES).format(name)
    chosen = [style for style in styles if rng.random() < 0.7]
    if not chosen or rng.random() < 0.45:
        return text
    rng.shuffle(chosen)
    return ", ".join([text, *chosen[:3]])


def vocabulary_words() -> list[str]:
    """Every word a caption can hold, and some that users write in prompts; sorted, without repetition."""
    sources = [c.name for c in CHARACTERS] + list(STYLES) + list(TEMPLATES)
    extra = "number numeral letter symbol white black background dark with and drawn by pen in font"
    words = " ".join([*sources, extra]).replace("{}", " ").replace(",", " ").split()
    return sorted(set(words))
