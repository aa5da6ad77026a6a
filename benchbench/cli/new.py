"""``bench new``: a working plugin with its test, in the current folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .say import say


def new(
    kind: Annotated[
        str,
        typer.Argument(
            help="generator, text-to-image-generator, fitted-generator, dataset, augmentation, learner, metric, "
            "executor or report."
        ),
    ],
    name: Annotated[str, typer.Argument(help="The plugin's name, such as my-generator.")],
) -> None:
    """Write a working plugin and its test into the current folder."""
    from ..testing.scaffold import TEMPLATES, create

    written = create(kind, name, Path.cwd())
    for path in written:
        say(f"wrote {path.name}")
    kind, plugin = TEMPLATES[kind], written[0].name
    say(f"try   bench check ./{plugin}")
    if kind == "report":
        say(f"      bench report --format ./{plugin}")
        return
    option = {"generator": "--gen", "dataset": "--data", "augmentation": "--aug"}.get(kind, f"--{kind}")
    others = "" if kind == "generator" else " --gen real"
    if kind != "dataset":
        others += " --data digits"
    say(f"      bench run {option} ./{plugin}{others} --arch resnet18")
