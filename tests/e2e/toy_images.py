"""Folders of tiny images, some of which no run may accept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_folders(root: Path) -> None:
    both = ("train/cat", "train/dog", "test/cat", "test/dog")
    layouts = {
        "pets": both,
        "one": ("train/cat", "test/cat"),
        "alone": ("cat",),
        "newclass": (*both, "test/eel"),
        "bare": both,
        "cut": both,
        "text": both,
        "untrained": ("test/cat", "test/dog"),
    }
    rng = np.random.default_rng(0)
    for name, folders in layouts.items():
        for folder in folders:
            (root / name / folder).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / folder / f"{number}.png")
    (root / "empty").mkdir()
    for path in (root / "bare/train/dog").iterdir():
        path.unlink()
    cut = root / "cut/train/cat/1.png"
    cut.write_bytes(cut.read_bytes()[:300])
    (root / "text/test/dog/2.png").write_text("no picture")
    (root / "afile").write_text("a file")
    (root / "broken.py").write_text("import json\ndef (:\n")
    (root / "lost.py").write_text("import not_there\n")
    (root / "noplugin.py").write_text("x = 1\n")
    (root / "broken.toml").write_text('gen = ["real"\n')
    (root / "unknown.toml").write_text('gne = "real"\n')
