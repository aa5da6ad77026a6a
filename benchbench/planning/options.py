"""The one table of the experiment's options: ``Request`` declares each as one field, as ``param`` does for plugins.

From it come the command line of ``run`` and ``plan`` with its help, the keys of a suite file and of
``benchbench.run``, and the message for each mistake. An option that is declared with ``axis=True`` also multiplies the
plan by its values, enters keys and identity, and has a field of the record, a column of ``leaderboard.csv`` and a
pivot; what a step makes of it, it reads from ``body["more"]``.

``make_request`` turns what a user gave, by flags, a suite file or the Python API, into a ``Request``.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import itertools
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError, nearest
from ..plugins.parameters import PRESETS
from .precision import PRECISIONS
from .spec import Spec, comma_list, in_utf8, integer, parse_chain, parse_mix, parse_spec, parse_sweep

#: Seeds times draws at most: beyond it a slip of the finger is likelier than a wish.
MOST_TRAININGS = 10_000

Chain = tuple[Spec, ...]


@dataclass(frozen=True)
class Option:
    """How one field of a request is given.

    Attributes:
        reader: makes the field's value of the texts of a list, or of the one value of another; it is given the
            option's spelling for its message.
        metavar: what stands for its value in ``--help``; empty for a switch, which turns off what is on by default, or
            turns on or off what by default (``None``) depends on the rest.
        help: one line for ``--help``.
        missing: what a list lacks when its text holds nothing, as a script's unset variable does; ``None`` for an
            option that is no list.
        axis: whether it is an axis of the experiment that needs no code in the plan.
        name: of the field, and the key in a suite file.
        default: value where it is not given.
    """

    reader: Callable[[Any, str], Any]
    metavar: str
    help: str
    missing: str | None = None
    axis: bool = False
    name: str = ""
    default: Any = None

    @property
    def spelling(self) -> str:
        """The option on the command line, ``--n-syn``."""
        return "--" + self.name.replace("_", "-")

    def read(self, value: Any) -> Any:
        """Return the field's value.

        Raises:
            UsageError: a value that cannot be read, or one that holds nothing.
        """
        if self.missing is None:
            return self.reader(value, self.spelling)
        texts = _texts(value, self.spelling)
        if not comma_list(texts):
            raise UsageError(f"{self.spelling}: {self.missing}")
        return self.reader(texts, self.spelling)


def option(default: Any, *declared: Any, **more: Any) -> Any:
    """Declare a field of a request by its default, then reader, metavar, help and the rest of :class:`Option`."""
    return field(default=default, metadata={"option": Option(*declared, **more)})


def options_of(table: type) -> dict[str, Option]:
    """Return the options of a request class by name, in the order of its fields."""
    fields = dataclasses.fields(table)
    return {item.name: replace(item.metadata["option"], name=item.name, default=item.default) for item in fields}


# -- readers: of the texts of a list, or of one value, with the option as it is spelt


def _texts(value: Any, spelling: str) -> list[str]:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return [in_utf8(str(value))]
    listed = isinstance(value, (list, tuple))
    if listed and all(isinstance(v, (str, int, float)) and not isinstance(v, bool) for v in value):
        return [in_utf8(str(item)) for item in value]
    raise UsageError(f"{spelling} {value!r}: must be text or a list of texts")


def _each(reader: Callable[[str], Any]) -> Callable[[list[str], str], tuple[Any, ...]]:
    return lambda texts, spelling: tuple(reader(text) for text in texts)


def words(texts: list[str], spelling: str) -> tuple[str, ...]:
    """Read a comma list of names."""
    return tuple(comma_list(texts))


def _numbers(texts: list[str], spelling: str) -> tuple[int, ...]:
    return tuple(integer(text, spelling, 1) for text in comma_list(texts))


def _metrics(texts: list[str], spelling: str) -> tuple[Spec, ...]:
    return tuple(parse_spec(text) for text in texts if text != "none")


def _chain_or_none(text: str) -> Chain:
    return () if text == "none" else parse_chain(text)


def _mixes(texts: list[str], spelling: str) -> tuple[tuple[int, int], ...]:
    return tuple(parse_mix(text) for text in comma_list(texts))


def _augmentations(texts: Sequence[str], spelling: str) -> tuple[Chain, ...]:
    """Split at commas, but not inside ``name:key=value,key=value``."""
    parts: list[str] = []
    for text in texts:
        for part in text.split(","):
            if parts and "=" in part and ":" not in part and ":" in parts[-1]:
                parts[-1] += "," + part
            elif part.strip():
                parts.append(part.strip())
    return tuple(parse_chain(text) for text in dict.fromkeys(parts))


def _whole(value: Any, spelling: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise UsageError(f"{spelling} {value}: must be a whole number")
    return integer(value, spelling, 1)


def _truth(value: Any, spelling: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{spelling} {value}: must be true or false")
    return value


def one_of(*known: str) -> Callable[[Any, str], str]:
    """Return a reader of one of some words."""

    def read(value: Any, spelling: str) -> str:
        if str(value) not in known:
            hint = nearest(str(value), known)
            raise UsageError(f"{spelling} {value}: must be one of {', '.join(known)}{hint}")
        return str(value)

    return read


@dataclass(frozen=True)
class Request:
    """A set of experiments, as asked for, before anything is looked up.

    Where nothing is given, ``shots``, ``n_real``, ``n_syn`` and ``mix`` follow the preset, ``gen`` is the real baseline
    alone, and ``metric`` (``None``) every usual one; ``seeds``, ``draws`` and ``controls`` (``None``) are what
    :func:`benchbench.planning.design.make_design` says. Each item of ``gen``, ``aug`` and ``test_transform`` is
    a chain, ``()`` for none; ``arch`` may hold aliases; ``sweep`` holds kind, parameter and values.
    """

    gen: tuple[Chain, ...] = option(
        (), _each(parse_chain), "NAME[:KEY=VALUE,...]", "A generator; repeat for several rows.", "names no generator"
    )
    data: tuple[Spec, ...] = option(
        (), _each(parse_spec), "NAME[:...]", "A dataset; repeat for several.", "names no dataset"
    )
    arch: tuple[str, ...] = option(
        (), words, "NAME,...", "Architectures; `all` is the paper's five.", "names no architecture"
    )
    aug: tuple[Chain, ...] = option(
        (), _augmentations, "NAME,...", "Augmentations; a+b applies both.", "names no augmentation"
    )
    seeds: int | None = option(
        None,
        _whole,
        "N",
        "Trainings per draw. [default: the dataset's (quick) or 5 (paper) without --draws, else 1]",
    )
    draws: int | None = option(
        None,
        _whole,
        "N",
        "Choices of the real images, each with its own generation. [default: the dataset's (quick) or 1 (paper) "
        "without --seeds, else 1; the learner's where nothing is generated]",
    )
    controls: bool | None = option(
        None,
        _truth,
        "",
        "Rows of further real images and of copies. [default: where a generator is compared under quick, without "
        "--seeds and --draws]",
    )
    shots: tuple[int, ...] = option((), _numbers, "N,...", "Real images per class.", "no number given")
    n_real: tuple[int, ...] = option((), _numbers, "N,...", "Real images in all.", "no number given")
    subset: str = option(
        "balanced",
        one_of("balanced", "groups"),
        "balanced|groups",
        "How --n-real chooses: balanced classes, or the authors' random groups. [default: balanced]",
    )
    n_syn: tuple[int, ...] = option(
        (), _numbers, "N,...", "Generated images. [default: 10 (quick) or 45 (paper) per real one]", "no number given"
    )
    mix: tuple[tuple[int, int], ...] = option(
        (),
        _mixes,
        "R:S,...",
        "Real to synthetic in each batch. [default: 1:1 (quick) or 0:1 (paper)]",
        "no ratio given",
    )
    test_transform: tuple[Chain, ...] = option(
        (),
        _each(_chain_or_none),
        "NAME[:...]",
        "Test images pass through this generator first, such as vae; `none` for none; repeat for several.",
        "names no generator; `none` is for none",
    )
    preset: str = option("quick", one_of(*PRESETS), "quick|paper", "Defaults. [default: quick]")
    learner: tuple[Spec, ...] = option(
        (), _each(parse_spec), "NAME[:...]", "How classifiers are trained.", "names no learner"
    )
    metric: tuple[Spec, ...] | None = option(
        None, _metrics, "NAME[:...]", "Metrics of the images; `none` for none.", "names no metric; `none` is for none"
    )
    sweep: tuple[tuple[str, str, tuple[str, ...]], ...] = option(
        (), _each(parse_sweep), "gen.KEY=V,V", "One variant of each generator per value.", "names no parameter"
    )
    select: str = option(
        "",
        one_of("validation"),
        "validation",
        "Of the settings of --sweep, the one that is best on the validation part is the row; others are listed.",
    )
    baseline: bool = option(True, _truth, "", "Leave out the row trained on the real images.")
    device: str = option("auto", one_of("auto", "cpu", "cuda"), "auto|cpu|cuda", "Where to compute.")
    precision: str = option(
        "auto",
        one_of(*PRECISIONS),
        "auto|fp32|tf32|fp16|bf16",
        "auto: fp32 on a CPU; on an accelerator bf16, under paper fp32 with fp16 sampling. fp16 is for sampling alone.",
    )

    def __post_init__(self) -> None:
        trainings = {"--seeds": self.seeds or 1, "--draws": self.draws or 1}
        if math.prod(trainings.values()) > MOST_TRAININGS:
            asked = " and ".join(f"{name} {value}" for name, value in trainings.items() if value > 1)
            raise UsageError(f"{asked}: more than {MOST_TRAININGS:,} trainings of one row; ask for fewer")
        if self.shots and self.n_real:
            raise UsageError("--shots and --n-real: give one of them; both set the number of real images")

        if self.select and not self.sweep:
            raise UsageError("--select: chooses among the settings of a sweep; add --sweep gen.KEY=VALUE,VALUE")
        if self.select and (others := [f"{kind}.{name}" for kind, name, _ in self.sweep if kind != "gen"]):
            raise UsageError(
                f"--select: chooses among settings of generators; --sweep {others[0]} sweeps something else"
            )

    @property
    def swept(self) -> str:
        """The parameters whose settings ``select`` chooses among, joined by commas; empty without ``select``."""
        return ",".join(name for _, name, _ in self.sweep) if self.select else ""

    def further(self) -> list[dict[str, str]]:
        """Return each combination of values of the axes that the plan does not know, defaults left out.

        Such an axis is a list of words; its default is the one word that steps without it were made with.
        """
        axes = [item for item in options_of(type(self)).values() if item.axis]
        values = itertools.product(*(getattr(self, item.name) for item in axes))
        return [
            {item.name: word for item, word in zip(axes, words, strict=True) if (word,) != item.default}
            for words in values
        ]


def make_request(options: Mapping[str, Any], table: type[Request] = Request) -> Request:
    """Build a request from option texts, as flags, a suite file and ``benchbench.run`` give them.

    What is not given comes from the suite that is registered as ``default``: its learner, augmentation and
    architectures always, its generators and datasets only when neither is given. A dataset without a generator is the
    real baseline alone.

    Args:
        options: keys are the fields of ``table``; values are texts, numbers or lists of them. Absent, ``None`` and
            an empty list keep the default; a text that holds nothing, ``""`` or ``","``, does not.
        table: the options that there are.

    Raises:
        UsageError: an unknown key, a value that cannot be read, or one that holds nothing.
    """
    known = options_of(table)
    for name in options:
        if name not in known:
            names = tuple(known)
            raise UsageError(f"{name}: unknown option{nearest(name, names) or '; there are ' + ', '.join(names)}")
    given = {name: value for name, value in options.items() if value not in (None, (), [])}
    made = {name: known[name].read(value) for name, value in given.items()}
    open_question = not ("gen" in made or "data" in made)
    for name, value in read_suite("default").items():
        if name in known and (name not in ("gen", "data") or open_question):
            made.setdefault(name, known[name].read(value))
    if not made.get("data"):
        raise UsageError("--data: missing; `bench list dataset` shows what there is")
    if not made.get("gen") and made.get("baseline") is False:
        raise UsageError("--gen: missing, and --no-baseline leaves no row; `bench list generator` shows what there is")
    return expand_sweeps(table(**made))


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
    return request if request.select else replace(request, sweep=())


def read_suite(name: str) -> dict[str, Any]:
    """Read a suite: a TOML file, or the name of one that a plugin package registers under ``benchbench.suites``.

    Raises:
        UsageError: no such suite, or not TOML (with the line).
    """
    path = declared_file(name, "suite")
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: not a TOML file: {error}") from None


def declared_file(name: str, kind: str) -> Path:
    """Return a TOML file by its path, which ends with ``.toml`` or has a slash, or by its registered name.

    Raises:
        UsageError: there is none, or two distributions register that name.
    """
    if name.endswith(".toml") or "/" in name:
        if not Path(name).is_file():
            raise UsageError(f"{name}: no such {kind} file")
        return Path(name)
    return registered_file(kind, name)


def registered_file(kind: str, name: str) -> Path:
    """Return the TOML file that a plugin package registers under ``benchbench.KINDs``.

    Raises:
        UsageError: none has that name, or two distributions register it.
    """
    points = importlib.metadata.entry_points(group=f"benchbench.{kind}s")
    named = [point for point in points if point.name == name]
    ours = [point for point in named if point.dist and point.dist.name == __name__.partition(".")[0]]
    # What this distribution registers is nobody else's to replace.
    if len({point.value for point in ours or named}) > 1:
        owners = " and ".join(sorted({point.dist.name if point.dist else point.value for point in named}))
        raise UsageError(f"{name}: two distributions register this {kind}: {owners}; name its file")
    for point in ours or named:
        package, _, file = point.value.partition(":")
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin:
            return Path(spec.origin).parent / f"{file}.toml"
    known = sorted(point.name for point in points)
    raise UsageError(f"{name}: no such {kind}{nearest(name, known) or '; there are ' + ', '.join(known)}")
