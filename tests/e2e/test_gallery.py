"""``bench gallery`` as a user runs it: the pictures it leaves, and what it says about a mistake."""

from __future__ import annotations

import pytest
from PIL import Image
from toy_images import write_folders

PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass
from benchbench.plugins import *

@dataclass(frozen=True)
class Darker(Augmentation):
    \"\"\"Divides every pixel.\"\"\"

    by: int = param(2, low=0, help="Divisor.")

    def apply(self, images, targets, rng, info):
        if self.by == 7:
            return images[1:], targets
        if self.by == 0:
            raise ValueError("no\\nlight")
        return images // self.by, targets
"""


@pytest.fixture
def pets(bench):
    write_folders(bench.folder)
    (bench.folder / "darker.py").write_text(PLUGIN.lstrip(), "utf-8")
    return bench


def drawn(done) -> list[str]:
    assert all(line.startswith("drew  ") for line in done.out.splitlines())
    return [line.removeprefix("drew  ") for line in done.out.splitlines()]


def test_pictures_of_names_chains_and_files(pets):
    asked = "default,mixup,randaugment+cutmix:alpha=0.5,./darker.py"
    done = pets("gallery", "--data", "folder:path=pets", "--aug", asked, "--count", "4", "--versions", "3")
    names = ["default", "mixup", "randaugment+cutmix-alpha=0.5", "darker.py"]
    assert drawn(done) == [f"results/figures/gallery/folder-path=pets/{name}.png" for name in names]
    assert done.errors == []
    sizes = set()
    for path in drawn(done):
        with Image.open(pets.folder / path) as opened:
            opened.load()
            sizes.add(opened.size)
    assert len(sizes) >= 2  # soft labels take room
    kept = {path: (pets.folder / path).read_bytes() for path in drawn(done)}
    for path in kept:
        (pets.folder / path).write_text("an older picture")
    again = pets("gallery", "--data", "folder:path=pets", "--aug", asked, "--count", "4", "--versions", "3")
    assert {path: (pets.folder / path).read_bytes() for path in drawn(again)} == kept
    other = pets("gallery", "--data", "folder:path=pets", "--aug", "mixup", "--seed", "1", "--out", "elsewhere")
    assert drawn(other) == ["elsewhere/folder-path=pets/mixup.png"]


def test_growth_is_shown_by_a_short_training(bench):
    options = ("--data", "digits", "--learner", "timm:steps=8,batch_size=8", "--count", "5", "--versions", "7")
    done = bench("gallery", *options, "--aug", "meada:ascent_steps=2", "--aug", "default")
    assert done.err == "[gallery] meada:ascent_steps=2: training shufflenetv2 on 50 images\n"
    grown, plain = (bench.folder / path for path in drawn(done))
    with Image.open(grown) as first, Image.open(plain) as second:
        assert first.width > second.width + 200  # two rounds of two columns
    done = bench("gallery", *options, "--aug", "meada:ascent_steps=2,max_images=4", "--out", "capped")
    (capped,) = (bench.folder / path for path in drawn(done))
    with Image.open(capped) as first, Image.open(plain) as second:
        assert first.width == second.width  # none of 4 is known to be of one of 5
        assert first.height > second.height  # a line says so


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--aug", "mixxup"), "mixxup: unknown augmentation (did you mean 'mixup'"),
        (("--aug", "mixup:alpha=0"), "mixup:alpha=0: must be above 0"),
        (("--aug", "all+mixup"), "--aug all+mixup: all stands alone"),
        (("--data", "digitz"), "digitz: unknown dataset (did you mean 'digits'"),
        (("--data", "folder:path=nowhere"), "folder:path=nowhere"),
        (("--out", "afile"), "--out afile: cannot be written (File exists); give a folder"),
        (("--out", "afile/below"), "--out afile/below: cannot be written (Not a directory); give a folder"),
        (("--count", "0"), "--count 0: must be at least 1"),
        (("--count", "201"), "--count 201: must be at most 200"),
        (("--versions", "many"), "--versions many: must be a whole number"),
        (("--seed", ""), "--seed: no number given"),
        (("--aug", ","), "--aug: names no augmentation"),
        (("--aug", ""), "--aug: names no augmentation"),
        (("--arch", "resnet18,vgg16"), "--arch resnet18,vgg16: must be one architecture"),
        (("--aug", "meada", "--learner", "timn"), "timn: unknown learner (did you mean 'timm'"),
        (("--preset", "fast"), "--preset fast: must be one of quick, paper"),
    ],
)
def test_a_mistake_is_one_line(pets, options, message):
    given = options if "--data" in options else ("--data", "folder:path=pets", *options)
    done = pets("gallery", *given, code=2)
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert message in done.err
    assert not (pets.folder / "results").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("by=0", "bench: --aug darker.py:by=0: ValueError: no light (darker.py:15)"),
        ("by=7", "bench: --aug darker.py:by=7: must return images (4, 3, 16, 16) and a target for each; got (3, "),
    ],
)
def test_an_augmentation_that_fails_is_named(pets, values, message):
    done = pets("gallery", "--data", "folder:path=pets", "--aug", f"./darker.py:{values}", "--count", "4", code=1)
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(message)
