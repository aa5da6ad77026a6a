"""A model's folder may hold any JSON: what is odd in it is one line, whichever value it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchbench.errors import BenchError
from benchbench.models.clip.layout import check_clip
from benchbench.models.diffusion.layout import read_layout, read_vae_layout
from benchbench.plugins.locate import locate
from benchbench_plugins.generators.biggan.layout import read_biggan_layout
from benchbench_plugins.generators.lecf.candidates import check_concepts, check_language_folder

ODD = (None, -1, 10**30, 0.5, "odd", [], [None], {}, True)
READERS = {
    "clip": ("glyph-clip", ("config.json", "preprocessor_config.json"), check_clip),
    "layout": ("glyph-sd", ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"), read_layout),
    "autoencoder": ("glyph-sd", ("vae/config.json",), read_vae_layout),
    "biggan": ("glyph-biggan", ("config.json",), read_biggan_layout),
    "language": ("glyph-words", ("config.json",), check_language_folder),
    "words": ("glyph-words", ("tokenizer.json",), lambda folder, name: check_concepts(folder, name, ["digit"])),
}


def odd_versions(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a configuration with each value, also one level below, replaced by each odd one."""
    for key, value in content.items():
        for odd in ODD:
            yield {**content, key: odd}
        if isinstance(value, dict):
            for inner in list(value)[:20]:
                for odd in ODD:
                    yield {**content, key: {**value, inner: odd}}


@pytest.mark.parametrize("reader", READERS)
def test_an_odd_value_is_one_line_that_names_the_model(reader, tmp_path):
    name, files, read = READERS[reader]
    folder = tmp_path / "model"
    shutil.copytree(locate(name), folder, copy_function=lambda one, two: Path(two).symlink_to(one))
    refused: list[str] = []
    for file in files:
        if not (folder / file).is_file():
            continue
        whole = json.loads((folder / file).read_text("utf-8"))
        (folder / file).unlink()
        for content in odd_versions(whole):
            (folder / file).write_text(json.dumps(content), "utf-8")
            try:
                read(folder, "diffinv:model=./model")
            except BenchError as error:
                refused.append(str(error))
        (folder / file).write_text(json.dumps(whole), "utf-8")
    assert refused
    assert not [text for text in refused if not text.startswith("diffinv:model=./model") or "\n" in text]
    read(folder, "diffinv:model=./model")
