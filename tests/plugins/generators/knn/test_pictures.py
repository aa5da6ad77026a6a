import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pools import encoded, noise

from benchbench_plugins.generators.knn.pools.pictures import decoded, fit_into, pixel_digest

RULES = ("crop", "pad", "squash")


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF", b"GIF89a", b"BM"]),
)
def test_any_bytes_are_a_picture_or_a_reason(content, start):
    said = decoded(start + content)
    if isinstance(said, np.ndarray):
        assert (said.dtype, said.shape[2]) == (np.uint8, 3)
        return
    assert 0 < len(said) < 100
    assert "\n" not in said


def test_orientation_and_transparency_are_applied():
    pixels = noise(1)[0][:8]
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(decoded(encoded(pixels, exif=exif)), np.rot90(pixels, -1))
    stream = io.BytesIO()
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(stream, "PNG")
    assert (decoded(stream.getvalue()) == 255).all()


def test_each_rule_makes_a_square():
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    assert (fit_into(wide, 8, "crop") == 200).all()
    padded = fit_into(wide, 24, "pad")
    assert (padded[:8] == 255).all()
    assert (padded[16:] == 255).all()
    np.testing.assert_array_equal(padded[8:16], wide)
    squashed = fit_into(wide, 24, "squash")
    assert (squashed[:, 11] == 200).all()
    assert (squashed[:, 0] == 0).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 33), st.sampled_from(RULES))
def test_any_shape_fits_into_any_side(height, width, side, rule):
    made = fit_into(np.full((height, width, 3), 7, np.uint8), side, rule)
    assert made.shape == (side, side, 3)
    assert made.dtype == np.uint8
    if rule != "pad" or height == width:
        assert (made == 7).all()


def test_a_square_of_the_right_size_is_left_alone():
    pixels = noise(1)[0]
    for rule in RULES:
        np.testing.assert_array_equal(fit_into(pixels, 16, rule), pixels)


def test_equal_pixels_share_a_digest_whatever_the_file():
    pixels = noise(1)[0]
    files = [encoded(pixels, kind) for kind in ("PNG", "BMP", "TIFF")]
    assert len({pixel_digest(decoded(item)) for item in files}) == 1
    assert pixel_digest(pixels.reshape(8, 32, 3)) != pixel_digest(pixels)
