"""From a file to uint8 RGB: each kind of file against a value worked out by hand."""

from __future__ import annotations

import os
import struct
import time

import numpy as np
import pytest
from PIL import Image

from benchbench_plugins.datasets import _images
from benchbench_plugins.datasets._images import ImageError, in_threads, inspect, read
from benchbench_plugins.datasets._listing import listed


def both(path, side=4):
    """Return the pixels, after the scan accepted the file too."""
    inspect(path)
    return read(path, side)


def test_rgb_of_the_right_size_is_untouched(tmp_path, draw):
    path = draw(tmp_path / "a.png", (4, 4))
    np.testing.assert_array_equal(both(path), np.asarray(Image.open(path)))


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (128, 0), (129, 1), (32896, 128), (65535, 255)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, value, expected, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((4, 4), value, dtype=np.uint16)).save(path)
    assert np.unique(both(path)).tolist() == [expected]


def test_big_endian_16_bit_tiff(tmp_path):
    path = tmp_path / "a.tif"
    Image.frombytes("I;16B", (4, 4), np.full((4, 4), 0x8080, dtype=">u2").tobytes()).save(path)
    assert np.unique(both(path)).tolist() == [128]


@pytest.mark.parametrize(("mode", "value", "expected"), [("L", 77, 77), ("1", 1, 255), ("1", 0, 0)])
def test_grey_is_repeated(tmp_path, mode, value, expected):
    path = tmp_path / "a.png"
    Image.new(mode, (4, 4), value).save(path)
    assert both(path).shape == (4, 4, 3)
    assert np.unique(both(path)).tolist() == [expected]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 51), (204, 204, 204)),
    ],
)
def test_transparency_is_composited_on_white(tmp_path, mode, colour, expected):
    path = tmp_path / "a.png"
    Image.new(mode, (4, 4), colour).save(path)
    assert both(path)[0, 0].tolist() == list(expected)


def test_a_transparent_colour_is_white_in_palette_and_rgb(tmp_path):
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 40, 50, 60])
    palette.save(tmp_path / "plain.png")
    palette.save(tmp_path / "clear.png", transparency=1)
    palette.save(tmp_path / "clear.gif", transparency=1)
    Image.new("RGB", (4, 4), (40, 50, 60)).save(tmp_path / "key.png", transparency=(40, 50, 60))
    assert both(tmp_path / "plain.png")[0, 0].tolist() == [40, 50, 60]
    for name in ("clear.png", "clear.gif", "key.png"):
        assert both(tmp_path / name)[0, 0].tolist() == [255, 255, 255]


def test_cmyk_becomes_rgb(tmp_path):
    path = tmp_path / "a.tif"
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(path)
    assert both(path)[0, 0].tolist() == [255, 0, 0]
    path = tmp_path / "a.jpg"
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(path, quality=100)
    np.testing.assert_allclose(both(path)[0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, draw, orientation, suffix):
    from PIL import ImageOps

    image = Image.open(draw(tmp_path / "plain.png", (6, 4)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=exif)
    image.save(tmp_path / "b.png", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "b.png"))
    facts = inspect(path)
    assert {facts.width, facts.height} == {4, 6}
    assert upright.size == ((4, 6) if orientation >= 5 else (6, 4))
    expected = upright.crop((1, 0, 5, 4)) if orientation < 5 else upright.crop((0, 1, 4, 5))
    np.testing.assert_array_equal(read(path, 4), np.asarray(expected))


def test_the_centre_square_is_resized_bicubically(tmp_path, draw):
    path = draw(tmp_path / "a.png", (31, 20))
    expected = Image.open(path).crop((5, 0, 25, 20)).resize((8, 8), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(both(path, 8), np.asarray(expected))


def test_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    for name in ("a.gif", "a.tif"):
        assert both(tmp_path / name)[0, 0].tolist() == [255, 0, 0]


def test_content_counts_and_not_the_ending(tmp_path):
    Image.new("RGB", (4, 4), (1, 2, 3)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert both(tmp_path / "a.jpg")[0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp", "gif", "ppm"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_every_truncation_is_found(tmp_path, draw, suffix, part):
    path = draw(tmp_path / f"a.{suffix}", (64, 64))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    for function in (inspect, lambda path: read(path, 8)):
        with pytest.raises(ImageError, match=r"truncated|damaged"):
            function(path)


def test_what_is_wrong_is_said(tmp_path, draw):
    cases = {
        "empty.png": b"",
        "text.png": b"hello\n",
        "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((4, 4), 70000, dtype=np.int32)).save(tmp_path / "deep.tif")
    # 200 bytes that claim 20,000 x 20,000 px, and 10,000 x 7,000, which Pillow itself would let pass.
    for name, size in (("bomb.ppm", "20000 20000"), ("large.ppm", "10000 7000")):
        (tmp_path / name).write_bytes(f"P6 {size} 255\n".encode())
    (tmp_path / "nothing.png").symlink_to(tmp_path / "gone")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    said = {}
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ImageError) as raised:
            inspect(path)
        said[path.name] = str(raised.value)
        with pytest.raises(ImageError, match=str(raised.value)):
            read(path, 4)
    assert said == {
        "bomb.ppm": "more than 64 megapixels",
        "circle.png": "cannot be read: Too many levels of symbolic links",
        "deep.tif": "a 32-bit image; save it with 8 or 16 bits per channel",
        "empty.png": "an empty file",
        "eps.png": "not an image, or damaged",
        "float.tif": "a float image; save it with 8 or 16 bits per channel",
        "large.ppm": "10000 x 7000 px, more than 64 megapixels",
        "nothing.png": "a link to nothing",
        "text.png": "not an image, or damaged",
    }
    with pytest.raises(ImageError, match=r"^no longer there$"):
        read(tmp_path / "gone.png", 4)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_one_pixel_fills_the_square(tmp_path, size):
    path = tmp_path / "a.png"
    Image.new("RGB", size, (3, 141, 59)).save(path)
    assert (inspect(path).width, inspect(path).height) == size
    np.testing.assert_array_equal(read(path, 32), np.broadcast_to([3, 141, 59], (32, 32, 3)))


def test_rounding_of_16_bit_grey_is_that_of_division(tmp_path):
    path = tmp_path / "a.png"
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(both(path, 256)[..., 0], np.rint(values / 257))


def test_conversion_in_strips_changes_no_pixel(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 4), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise[..., :2].copy().view(np.uint16)[..., 0]).save(tmp_path / "b.png")
    whole = [(inspect(path), read(path, 50)) for path in sorted(tmp_path.iterdir())]
    opaque = noise[..., 3:] / 255
    np.testing.assert_allclose(whole[0][1], noise[..., :3] * opaque + 255 * (1 - opaque), atol=1)
    monkeypatch.setattr(_images, "STRIP", 7)
    for path, (facts, pixels) in zip(sorted(tmp_path.iterdir()), whole, strict=True):
        assert inspect(path) == facts
        np.testing.assert_array_equal(read(path, 50), pixels)


def test_modes_that_few_files_have(tmp_path):
    Image.new("LAB", (4, 4), (128, 128, 128)).save(tmp_path / "lab.tif")
    Image.new("PA", (4, 4), (0, 255)).save(tmp_path / "pa.tif")
    for path in tmp_path.iterdir():
        assert both(path).shape == (4, 4, 3)


def deep_tiff(path, bits, sample, values, order="<"):
    """Write a grey TIFF of any depth; ``sample`` is 1 for unsigned and 2 for signed numbers."""
    pixels = np.asarray(values).astype(f"{order}{'ui'[sample - 1]}{bits // 8}")
    rows, columns = pixels.shape
    tags = {
        256: columns,
        257: rows,
        258: bits,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: rows,
        279: pixels.nbytes,
        339: sample,
    }
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + pixels.nbytes)
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    path.write_bytes(head + pixels.tobytes() + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.parametrize("top", [1, 255, 65535])
@pytest.mark.parametrize(("sample", "order"), [(1, "<"), (2, "<"), (2, ">")])
def test_32_bit_tiffs_are_refused_whatever_their_values(tmp_path, top, sample, order):
    """Values 0..255 divided by 257 would be a black image."""
    path = deep_tiff(tmp_path / "a.tif", 32, sample, np.linspace(0, top, 16).reshape(4, 4), order)
    for function in (inspect, lambda path: read(path, 4)):
        with pytest.raises(ImageError, match=r"^a 32-bit image; save it with 8 or 16 bits per channel$"):
            function(path)


def test_a_12_bit_tiff_is_refused(tmp_path):
    path = deep_tiff(tmp_path / "a.tif", 16, 1, np.full((4, 4), 4095))
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<HHII", 258, 4, 1, 16), struct.pack("<HHII", 258, 4, 1, 12)))
    with pytest.raises(ImageError, match=r"^a 12-bit image; save it with 8 or 16 bits per channel$"):
        inspect(path)


def test_16_bits_that_pillow_opens_as_its_32_bit_mode_are_read(tmp_path):
    """Signed 16-bit TIFF and PGM; the depth of the file decides, not the mode."""
    for order in "<>":
        path = deep_tiff(tmp_path / "a.tif", 16, 2, np.full((4, 4), 32639), order)
        assert Image.open(path).mode == "I"
        assert np.unique(both(path)).tolist() == [127]
    for head, value in ((b"P5 4 4 65535\n", 32896), (b"P5 4 4 1000\n", 500)):
        path = tmp_path / "a.pgm"
        path.write_bytes(head + struct.pack(">H", value) * 16)
        assert Image.open(path).mode.startswith("I")
        assert np.unique(both(path)).tolist() == [128]
    below = deep_tiff(tmp_path / "b.tif", 16, 2, np.full((4, 4), -1))
    with pytest.raises(
        ImageError, match=r"^grey values outside of 0 to 65,535; save it with 8 or 16 bits per channel$"
    ):
        inspect(below)


def test_pixels_that_cannot_become_rgb(tmp_path, draw, monkeypatch):
    def refuse(image):
        raise ValueError("conversion not supported")

    path = draw(tmp_path / "a.png", (4, 4))
    monkeypatch.setattr(_images, "_to_rgb", refuse)
    for function in (inspect, lambda path: read(path, 8)):
        with pytest.raises(ImageError, match=r"^RGB pixels that cannot become RGB$"):
            function(path)


def test_pipes_and_files_beyond_all_measure_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"^not a regular file$"):
        inspect(tmp_path / "pipe.png")
    with (tmp_path / "long.png").open("wb") as out:
        out.truncate(2**30 + 1)  # a hole: takes no space
    with pytest.raises(ImageError, match=r"^larger than 1 GiB$"):
        read(tmp_path / "long.png", 4)


def test_64_megapixels_are_read_and_one_row_more_is_not(tmp_path):
    Image.new("1", (8192, 8192), 1).save(tmp_path / "most.png")
    assert np.unique(read(tmp_path / "most.png", 4)).tolist() == [255]
    (tmp_path / "more.pbm").write_bytes(b"P4 8192 8193\n")
    with pytest.raises(ImageError, match=r"^8192 x 8193 px, more than 64 megapixels$"):
        read(tmp_path / "more.pbm", 4)


def test_large_images_wait_for_one_another(tmp_path, draw, monkeypatch):
    """So that memory is that of one, whatever the number of threads."""
    paths = [draw(tmp_path / f"{number}.png", (20, 20), seed=number) for number in range(8)]
    inside, most = [], []
    upright = _images.upright

    def slowly(image):
        inside.append(image)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return upright(image)

    monkeypatch.setattr(_images, "upright", slowly)
    monkeypatch.setattr(_images.os, "cpu_count", lambda: 4)
    list(in_threads(inspect, paths))
    assert max(most) > 1
    most.clear()
    monkeypatch.setattr(_images, "LARGE_PIXELS", 399)
    list(in_threads(inspect, paths))
    list(in_threads(lambda path: read(path, 4), paths))
    assert max(most) == 1


def test_threads_keep_the_order_and_pass_errors_on():
    assert list(in_threads(lambda number: number * number, range(1000))) == [number * number for number in range(1000)]
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 // number, [2, 1, 0]))


def test_listed():
    assert listed(["a"]) == "'a'"
    assert listed("abcde") == "'a', 'b', 'c' and 2 more"
