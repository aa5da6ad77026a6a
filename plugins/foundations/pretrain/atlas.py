"""The atlas: every character in every typeface, stroke font and hand, as masks that batches are cut from."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from . import strokes
from .captions import CHARACTERS
from .skeletons import SKELETONS
from .typefaces import MissingFontsError, Typeface, bundled_typefaces, debian_typefaces

SIZE = 48
CAP_HEIGHT = 34
FONT, HERSHEY, PEN = 0, 1, 2
# Part of the cached file's name: raise it with every change to what is drawn.
_VERSION = 1
# Drawings by pen of each digit and of each letter; the bundled atlas is for trying the code out.
_PENS = {"debian": (600, 150), "bundled": (60, 15)}
# Words in a file's name that say its glyphs look written by hand.
_HANDWRITTEN = (
    "comic", "dkg", "breip", "bw", "femke", "humor", "dancing", "kaushan", "kristi", "klee", "ecolier",
    "rufscript", "tomson", "leckerli", "isabella", "z003", "lobster",
)  # fmt: skip


class Atlas(NamedTuple):
    """Masks of characters.

    Attributes:
        masks: uint8 `(M, 48, 48)`, 0 is paper and 255 is ink.
        chars: int64 `(M,)`, indices into `captions.CHARACTERS`.
        sources: int64 `(M,)`, FONT, HERSHEY or PEN.
        handwritten: bool `(M,)`, whether a caption may call the mask handwritten.

    """

    masks: NDArray[np.uint8]
    chars: NDArray[np.int64]
    sources: NDArray[np.int64]
    handwritten: NDArray[np.bool_]


def build_atlas(folder: Path, fonts: str, seed: int, report: Callable[[str], None] = print) -> Atlas:
    """Render the atlas for `fonts` ("debian" or "bundled"), or read it from `folder` when it is there.

    A manifest of the typefaces (file name, sha256, package, licence) is written beside it.
    """
    faces = bundled_typefaces() + (debian_typefaces() if fonts == "debian" else [])
    manifest = [
        {"file": f.path.name, "package": f.package, "licence": f.licence, "sha256": f.fingerprint()} for f in faces
    ]
    drawn = [[face["sha256"] for face in manifest], seed, _VERSION]
    key = hashlib.sha256(json.dumps(drawn).encode()).hexdigest()[:16]
    path = folder / f"atlas-{fonts}-{key}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus_manifest.json").write_text(json.dumps({"fonts": fonts, "typefaces": manifest}, indent=1) + "\n")
    if path.exists():
        with np.load(path) as stored:
            return Atlas(*(stored[name] for name in Atlas._fields))
    report(f"rendering {len(CHARACTERS)} characters in {len(faces)} typefaces")
    rows = [*_typeface_rows(faces), *_hershey_rows(seed), *_pen_rows(seed, *_PENS[fonts])]
    masks, chars, sources, hands = zip(*rows, strict=True)
    atlas = Atlas(np.stack(masks), np.array(chars), np.array(sources), np.array(hands))
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **atlas._asdict())
    temporary.replace(path)
    return atlas


_Row = tuple[NDArray[np.uint8], int, int, bool]


def _centred(image: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Centre the ink in a SIZE mask, shrinking what would not fit; None when there is no ink."""
    ys, xs = np.nonzero(image > 32)
    if len(ys) < 4:
        return None
    ink = Image.fromarray(image[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1])
    longest = max(ink.size)
    if longest > SIZE - 6:
        ratio = (SIZE - 6) / longest
        ink = ink.resize((max(1, round(ink.width * ratio)), max(1, round(ink.height * ratio))), Image.Resampling.BOX)
    canvas = Image.new("L", (SIZE, SIZE))
    canvas.paste(ink, ((SIZE - ink.width) // 2, (SIZE - ink.height) // 2))
    return np.asarray(canvas)


def _typeface_rows(faces: list[Typeface]) -> Iterator[_Row]:
    for face in faces:
        font = ImageFont.truetype(str(face.path), 100)
        height = _ink_height(font, "H")
        if height < 10:
            continue
        font = ImageFont.truetype(str(face.path), max(8, round(100 * 2 * CAP_HEIGHT / height)))
        absent = _raster(font, "\uffff")
        hand = any(word in face.path.stem.lower() for word in _HANDWRITTEN)
        for index, char in enumerate(CHARACTERS):
            large = _raster(font, char.glyph)
            # A face without the character draws its replacement box, or nothing.
            if np.array_equal(large, absent) and char.glyph != "-":
                continue
            small = np.asarray(Image.fromarray(large).reduce(2))
            if (mask := _centred(small)) is not None:
                yield mask, index, FONT, hand


def _ink_height(font: ImageFont.FreeTypeFont, text: str) -> float:
    box = font.getbbox(text)
    return box[3] - box[1]


def _raster(font: ImageFont.FreeTypeFont, text: str) -> NDArray[np.uint8]:
    canvas = Image.new("L", (288, 288))
    ImageDraw.Draw(canvas).text((144, 144), text, font=font, fill=255, anchor="mm")
    return np.asarray(canvas)


def _hershey_rows(seed: int) -> Iterator[_Row]:
    """Yield the Hershey single-stroke fonts, each character with four pens."""
    try:
        import cv2
    except ImportError as error:
        raise MissingFontsError("OpenCV is missing: install the extra benchbench[pretrain]") from error
    rng = np.random.default_rng([seed, 1])
    faces = [
        cv2.FONT_HERSHEY_SIMPLEX,
        cv2.FONT_HERSHEY_DUPLEX,
        cv2.FONT_HERSHEY_COMPLEX,
        cv2.FONT_HERSHEY_TRIPLEX,
        cv2.FONT_HERSHEY_COMPLEX_SMALL,
        cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
        cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    ]
    for face in faces:
        script = face in (cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)
        for index, char in enumerate(CHARACTERS):
            for _ in range(4):
                pen = int(rng.integers(3, 17))
                canvas = np.zeros((420, 420), np.uint8)
                scale = 7.0 if face != cv2.FONT_HERSHEY_COMPLEX_SMALL else 9.5
                cv2.putText(canvas, char.glyph, (120, 290), face, scale, 255, pen, cv2.LINE_AA)
                small = np.asarray(Image.fromarray(canvas).reduce(4))
                if (mask := _centred(small)) is not None:
                    yield mask, index, HERSHEY, script


def _pen_rows(seed: int, per_digit: int, per_letter: int) -> Iterator[_Row]:
    for index, char in enumerate(CHARACTERS):
        if char.glyph not in SKELETONS:
            continue
        rng = np.random.default_rng([seed, 2, index])
        for _ in range(per_digit if index < 10 else per_letter):
            yield strokes.draw(char.glyph, rng, SIZE, CAP_HEIGHT), index, PEN, True
