"""``Request``: what a user asked for, from flags, a suite file or the Python API, before anything is looked up."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest
from ..plugins.parameters import PRESETS
from .spec import Spec, comma_list, integer, integers, parse_chain, parse_mix, parse_spec, parse_sweep

EXECUTORS = ("auto", "inline", "processes")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "fp32", "bf16")
SUBSETS = ("balanced", "groups")

#: Seeds times draws at most: beyond it a slip of the finger is likelier than a wish.
MOST_TRAININGS = 10_000

Chain = tuple[Spec, ...]
#: What each option that takes a list lacks when its text holds nothing, as a script's unset variable does.
MISSING = {
    "gen": "names no generator",
    "data": "names no dataset",
    "learner": "names no learner",
    "metric": "names no metric; `none` is for none",
    "arch": "names no architecture",
    "aug": "names no augmentation",
    "test_transform": "names no generator; `none` is for none",
    "shots": "no number given",
    "n_real": "no number given",
    "n_syn": "no number given",
    "mix": "no ratio given",
    "sweep": "names no parameter",
}


@dataclass(frozen=True)
class Request:
    """A set of experiments, as asked for.

    Attributes:
        gen: chains of generators; one row each; none for the real baseline alone.
        data: datasets.
        learner: learners.
        arch: architecture names, aliases not yet expanded.
        aug: chains of augmentations.
        metric: metrics; ``None`` for every installed one.
        seeds: training seeds per draw.
        draws: few-shot draws, each with its own generation; ``None`` for what the learners' protocol averages over
            where nothing is generated, else one.
        shots: images per class; ``None`` for the preset's rule.
        n_real: total real images; ``None`` for all or the preset's rule.
        subset: how real images are chosen: ``"balanced"``, or ``"groups"``, the authors' random groups.
        n_syn: generated images; ``None`` for the preset's multiple of the real ones.
        mix: real to synthetic in each batch; ``None`` for synthetic only.
        test_transform: generators that the test images pass through, ``()`` inside for none; one row each.
        preset: ``"quick"`` or ``"paper"``.
        sweep: (kind, parameter, values); one variant of each spec per value.
        baseline: whether the real baseline is planned beside the generators.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        precision: ``"auto"`` (bf16 on an accelerator), ``"fp32"`` or ``"bf16"``.
    """

    gen: tuple[Chain, ...] = ()
    data: tuple[Spec, ...] = ()
    learner: tuple[Spec, ...] = ()
    arch: tuple[str, ...] = ()
    aug: tuple[Chain, ...] = ()
    metric: tuple[Spec, ...] | None = None
    seeds: int = 1
    draws: int | None = None
    shots: tuple[int, ...] = ()
    n_real: tuple[int, ...] = ()
    subset: str = "balanced"
    n_syn: tuple[int, ...] = ()
    mix: tuple[tuple[int, int], ...] = ()
    test_transform: tuple[Chain, ...] = ()
    preset: str = "quick"
    sweep: tuple[tuple[str, str, tuple[str, ...]], ...] = field(default=())
    baseline: bool = True
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        trainings = {"--seeds": self.seeds, "--draws": 1 if self.draws is None else self.draws}
        for name, value in trainings.items():
            if value < 1:
                raise UsageError(f"{name} {value}: must be at least 1")
        if math.prod(trainings.values()) > MOST_TRAININGS:
            asked = " and ".join(f"{name} {value}" for name, value in trainings.items() if value > 1)
            raise UsageError(f"{asked}: more than {MOST_TRAININGS:,} trainings of one row; ask for fewer")
        for name, text, known in (
            ("--preset", self.preset, PRESETS),
            ("--device", self.device, DEVICES),
            ("--precision", self.precision, PRECISIONS),
            ("--subset", self.subset, SUBSETS),
        ):
            if text not in known:
                raise UsageError(f"{name} {text}: must be one of {', '.join(known)}{nearest(text, known)}")
        if self.shots and self.n_real:
            raise UsageError("--shots and --n-real: give one of them; both set the number of real images")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _texts(value: Any, option: str) -> list[str]:
    if value is None:
        return []
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return [str(value)]
    listed = isinstance(value, (list, tuple))
    if listed and all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in value):
        return [str(item) for item in value]
    raise UsageError(f"{option} {value!r}: must be text or a list of texts")


def _whole(value: Any, option: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UsageError(f"{option} {value}: must be a whole number")
    return integer(value, option, 1)


def make_request(options: Mapping[str, Any]) -> Request:
    """Build a request from option texts, as flags, a suite file and ``benchbench.run`` give them.

    What is not given comes from the suite that is registered as ``default``: its learner, augmentation and
    architectures always, its generators and datasets only when neither is given. A dataset without a generator is the
    real baseline alone.

    Args:
        options: keys are the fields of :class:`Request`; values are texts, numbers or lists of them. Absent,
            ``None`` and an empty list keep the default; a text that holds nothing, ``""`` or ``","``, does not.

    Raises:
        UsageError: an unknown key, a value that cannot be read, or one that holds nothing.
    """
    known = tuple(item.name for item in fields(Request))
    for name in options:
        if name not in known:
            raise UsageError(f"{name}: unknown option{nearest(name, known) or '; there are ' + ', '.join(known)}")
    given = {name: value for name, value in options.items() if value not in (None, (), [])}
    for name, value in given.items():
        if name in MISSING and not comma_list(_texts(value, _option(name))):
            raise UsageError(f"{_option(name)}: {MISSING[name]}")
    open_question = not (given.get("gen") or given.get("data"))
    for name, value in read_suite("default").items():
        if name not in ("gen", "data") or open_question:
            given.setdefault(name, value)
    if not given.get("data"):
        raise UsageError("--data: missing; `bench list dataset` shows what there is")
    if not given.get("gen") and given.get("baseline") is False:
        raise UsageError("--gen: missing, and --no-baseline leaves no row; `bench list generator` shows what there is")
    made: dict[str, Any] = {}
    readers: dict[str, Any] = {
        "gen": lambda texts: tuple(parse_chain(text) for text in texts),
        "data": lambda texts: tuple(parse_spec(text) for text in texts),
        "learner": lambda texts: tuple(parse_spec(text) for text in texts),
        "metric": lambda texts: tuple(parse_spec(text) for text in texts if text != "none"),
        "arch": lambda texts: tuple(comma_list(texts)),
        "aug": lambda texts: tuple(parse_chain(text) for text in _aug_texts(texts)),
        "shots": lambda texts: tuple(integers(texts, "--shots", 1)),
        "n_real": lambda texts: tuple(integers(texts, "--n-real", 1)),
        "n_syn": lambda texts: tuple(integers(texts, "--n-syn", 1)),
        "test_transform": lambda texts: tuple(() if text == "none" else parse_chain(text) for text in texts),
        "mix": lambda texts: tuple(parse_mix(text) for text in comma_list(texts)),
        "sweep": lambda texts: tuple((k, p, tuple(v)) for k, p, v in map(parse_sweep, texts)),
    }
    for name, value in given.items():
        option = _option(name)
        if name in readers:
            made[name] = readers[name](_texts(value, option))
        elif name in ("seeds", "draws"):
            made[name] = _whole(value, option)
        elif name == "baseline":
            if not isinstance(value, bool):
                raise UsageError(f"{option} {value}: must be true or false")
            made[name] = value
        else:
            made[name] = str(value)
    return expand_sweeps(Request(**made))


def _aug_texts(texts: Sequence[str]) -> list[str]:
    """Split ``--aug`` at commas, but not inside ``name:key=value,key=value``."""
    found: list[str] = []
    for text in texts:
        for part in text.split(","):
            if found and "=" in part and ":" not in part and ":" in found[-1]:
                found[-1] += "," + part
            elif part.strip():
                found.append(part.strip())
    return list(dict.fromkeys(found))


def expand_sweeps(request: Request) -> Request:
    """Replace each swept spec by one variant for each value; several sweeps multiply."""
    for kind, name, values in request.sweep:
        if kind in ("gen", "aug"):
            chains: list[Chain] = []
            for chain in getattr(request, kind):
                # The last link is the one that a chain is about: diffinv+clip-filter sweeps the filter.
                chains += [(*chain[:-1], chain[-1].with_value(name, value)) for value in values]
            request = replace(request, **{kind: tuple(chains)})  # type: ignore[arg-type]
        else:
            if getattr(request, kind) is None:
                raise UsageError(f"--sweep {kind}.{name}: name the {kind} that has it with --{kind}")
            specs = [spec.with_value(name, value) for spec in getattr(request, kind) for value in values]
            request = replace(request, **{kind: tuple(specs)})  # type: ignore[arg-type]
    return replace(request, sweep=())


def read_suite(name: str) -> dict[str, Any]:
    """Read a suite: a TOML file, or the name of one that a plugin package registers under ``benchbench.suites``.

    Raises:
        UsageError: no such suite, or not TOML (with the line).
    """
    path = Path(name)
    if name.endswith(".toml") or "/" in name:
        if not path.is_file():
            raise UsageError(f"{name}: no such suite file")
    else:
        path = _registered_suite(name)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: not a TOML file: {error}") from None


def _registered_suite(name: str) -> Path:
    points = importlib.metadata.entry_points(group="benchbench.suites")
    for point in points:
        if point.name == name:
            package, _, file = point.value.partition(":")
            spec = importlib.util.find_spec(package)
            if spec is not None and spec.origin:
                return Path(spec.origin).parent / f"{file}.toml"
    known = sorted(point.name for point in points)
    raise UsageError(f"{name}: no such suite{nearest(name, known) or '; there are ' + ', '.join(known)}")
