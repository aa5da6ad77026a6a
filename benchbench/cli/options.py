"""The options that ``run``, ``plan`` and ``why`` share, and the request that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Gen = Annotated[
    list[str] | None,
    typer.Option("--gen", metavar="NAME[:KEY=VALUE,...]", help="A generator; repeat for several rows."),
]
Data = Annotated[list[str] | None, typer.Option("--data", metavar="NAME[:...]", help="A dataset; repeat for several.")]
Arch = Annotated[
    list[str] | None, typer.Option("--arch", metavar="NAME,...", help="Architectures; `all` is the paper's five.")
]
Aug = Annotated[list[str] | None, typer.Option("--aug", metavar="NAME,...", help="Augmentations; a+b applies both.")]
Learner = Annotated[
    list[str] | None, typer.Option("--learner", metavar="NAME[:...]", help="How classifiers are trained.")
]
Metric = Annotated[
    list[str] | None, typer.Option("--metric", metavar="NAME[:...]", help="Metrics of the images; `none` for none.")
]
Seeds = Annotated[str | None, typer.Option("--seeds", metavar="N", help="Trainings per draw. [default: 1]")]
Draws = Annotated[
    str | None,
    typer.Option(
        "--draws",
        metavar="N",
        help="Few-shot draws, each with its own generation. [default: 1, or the learner's where nothing is generated]",
    ),
]
Shots = Annotated[list[str] | None, typer.Option("--shots", metavar="N,...", help="Real images per class.")]
NReal = Annotated[list[str] | None, typer.Option("--n-real", metavar="N,...", help="Real images in all.")]
Subset = Annotated[
    str | None,
    typer.Option(
        "--subset",
        metavar="balanced|groups",
        help="How --n-real chooses: balanced classes, or the authors' random groups. [default: balanced]",
    ),
]
NSyn = Annotated[
    list[str] | None,
    typer.Option("--n-syn", metavar="N,...", help="Generated images. [default: 10 (quick) or 45 (paper) per real one]"),
]
Mix = Annotated[
    list[str] | None,
    typer.Option("--mix", metavar="R:S,...", help="Real to synthetic in each batch. [default: 0:1, synthetic only]"),
]
TestTransform = Annotated[
    list[str] | None,
    typer.Option(
        "--test-transform",
        metavar="NAME[:...]",
        help="Test images pass through this generator first, such as vae; `none` for none; repeat for several.",
    ),
]
Preset = Annotated[str | None, typer.Option("--preset", metavar="quick|paper", help="Defaults. [default: quick]")]
Sweep = Annotated[
    list[str] | None, typer.Option("--sweep", metavar="gen.KEY=V,V", help="One variant of each generator per value.")
]
NoBaseline = Annotated[bool, typer.Option("--no-baseline", help="Leave out the row trained on the real images.")]
Device = Annotated[str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="Where to compute.")]
Precision = Annotated[
    str | None, typer.Option("--precision", metavar="auto|fp32|bf16", help="bf16 on an accelerator, else fp32.")
]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Where records, tables and the cache go.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Suite = Annotated[str | None, typer.Argument(metavar="SUITE", help="A TOML file with the same names; options win.")]


def gather(suite: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request: those of the suite file, then those that were given."""
    options: dict[str, Any] = {}
    if suite is not None:
        from ..planning.request import read_suite

        options |= read_suite(suite)
    no_baseline = given.pop("no_baseline", False)
    options |= {name: value for name, value in given.items() if value not in (None, [], ())}
    if no_baseline:
        options["baseline"] = False
    if given.get("metric") == ["none"]:
        options["metric"] = ["none"]
    return options
