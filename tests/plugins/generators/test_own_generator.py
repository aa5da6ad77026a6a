"""A stranger's generators on the public base classes: the page's example, and what their mistakes say."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent

import pytest

from benchbench.errors import UsageError
from benchbench.models import generators
from benchbench.models.generators import ClipUser, TextToImageGenerator
from benchbench.plugins import param
from benchbench.plugins.catalog import file_module
from benchbench.plugins.parameters import build
from benchbench.testing import conformance

IMPORTS = """\
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchbench.models.generators import TextToImageGenerator
from benchbench.plugins import Context, ImageSet
from benchbench.plugins.context import derive_seed
"""


@dataclass(frozen=True)
class Plain(TextToImageGenerator):
    """Names nothing but itself."""


@dataclass(frozen=True)
class Asking(ClipUser):
    """Asks a CLIP."""

    clip: str = param("glyph-clip", help="The CLIP.")


def test_the_example_of_the_page_keeps_what_generators_promise(mini, info, train, tmp_path, monkeypatch):
    assert generators.__doc__ is not None
    code = dedent(generators.__doc__.partition("::\n\n")[2])
    (tmp_path / "snowy.py").write_text(IMPORTS + "\n\n" + code)
    snowy = file_module(tmp_path / "snowy.py").Snowy
    monkeypatch.setattr(generators, "CHUNK", 3)
    values = {"model": str(mini), "num_inference_steps": 1, "guidance_scale": 1.0}
    conformance(snowy, name="snowy", values=values, info=info, train=train, n_syn=5)


def test_messages_begin_with_the_class_of_a_generator_that_names_nothing(mini, info, tmp_path):
    with pytest.raises(UsageError, match=r"^Plain:resolution=20: must be a multiple of 8"):
        build(Plain, {"model": str(mini), "resolution": "20"}, subject="plain").resolve(info)
    with pytest.raises(UsageError, match=r"^Plain:scheduler=DDMScheduler: not a diffusers scheduler"):
        build(Plain, {"scheduler": "DDMScheduler"}, subject="plain").needs()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"^Asking:clip="):
        build(Asking, {"clip": str(tmp_path / "empty")}, subject="asking").needs()
    assert build(Asking, {}, subject="asking").needs().foundations == ("glyph-clip",)
