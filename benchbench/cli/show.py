"""``bench show``: one plugin with its parameters, their values under both presets, and its facts."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from ..errors import BenchError, MissingError, UsageError, nearest
from ..files import expanded
from ..planning.design import usual_trainings
from ..planning.spec import parse_spec
from ..plugins.catalog import KINDS, catalog, is_file_name, load
from ..plugins.parameters import build, format_value, parameters
from . import options as o
from .protocol import protocol_names, show_protocol
from .say import say, say_json, table_lines


def show(
    name: Annotated[str, typer.Argument(help="A plugin's name, or name:key=value; see `bench list`.")],
    kind: Annotated[str | None, typer.Option("--kind", help="When two kinds share a name.")] = None,
    as_json: o.Json = False,
) -> None:
    """Show a plugin: what it does, its parameters, licence, source and paper section.

    `bench show paper` shows what the paper's preset has beside what was published and what the authors' code does.
    """
    if kind is None and name in protocol_names():
        show_protocol(name, as_json)
        return
    spec, entry = named_plugin(name, kind)
    cls = load(entry)
    rows = [
        {
            "name": item.name,
            "quick": format_value(item.preset("quick")),
            "paper": format_value(item.preset("paper")),
            "bounds": _bounds(item),
            "help": item.help,
        }
        for item in parameters(cls)
    ]
    facts = _facts(cls, spec)
    shown = {"kind": entry.kind, "name": spec.name, "doc": inspect.getdoc(cls), "parameters": rows, "facts": facts}
    if as_json:
        say_json(shown, str)
        return
    say(f"{spec.name} ({entry.kind}, {f'{entry.distribution} {entry.version}'.strip() or 'a file'})", "")
    say(*(inspect.getdoc(cls) or "").split("\n"))
    _print_parameters(rows)
    for title, lines in facts.items():
        say("", title, *(f"  {line}" for line in lines))


def _print_parameters(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    width = max(len(row["name"]) for row in rows)
    quick = max(len(row["quick"]) for row in rows)
    paper = max(len(row["paper"]) for row in rows)
    say("", "parameters")
    say(f"  {'':<{width}}  {'quick':<{max(quick, 5)}}  {'paper':<{max(paper, 5)}}")
    for row in rows:
        bounds = f" ({row['bounds']})" if row["bounds"] else ""
        columns = f"{row['name']:<{width}}  {row['quick']:<{max(quick, 5)}}  {row['paper']:<{max(paper, 5)}}"
        say(f"  {columns}  {row['help']}{bounds}")


def _bounds(item: Any) -> str:
    if item.choices:
        return " | ".join(item.choices)
    if item.is_path:
        return "file or folder"
    low = f"{item.low:g}" if item.low is not None else f">{item.above:g}" if item.above is not None else ""
    high = f"{item.high:g}" if item.high is not None else ""
    if low or high:
        return (
            f"{low} to {high}"
            if low and high
            else (low if low.startswith(">") else f"at least {low}")
            if low
            else f"at most {high}"
        )
    return ""


def _facts(cls: Any, spec: Any) -> dict[str, list[str]]:
    """Return what a plugin declares about itself, and its own ``table``."""
    facts: dict[str, list[str]] = {}
    if cls.kind == "dataset":
        facts |= _dataset_facts(build(cls, spec.values, subject=spec.name))
    if cls.kind == "foundation":
        facts["facts"] = [f"format   {cls.format}", f"licence  {cls.licence}", f"source   {cls.source}"]
    if cls.kind == "augmentation" and cls.is_base:
        facts["facts"] = ["every chain of augmentations starts with it, also where --aug does not say so"]
    if cls.kind == "learner":
        axes = ", ".join(f"--{name}" for name in ("arch", "aug", "mix") if name in cls.axes)
        facts["facts"] = [f"varies with  {axes or 'none of --arch, --aug, --mix'}"]
        if cls.trains and cls.draws > 1:
            facts["facts"].append(
                f"draws        {cls.draws} of the few real images, where nothing is generated; --draws"
            )
        facts["facts"] += [] if cls.trains else ["trains       nothing: neither images nor seeds change its result"]
    if cls.kind == "executor":
        chosen = build(cls, spec.values, subject=spec.name).suits(2, "cpu") > 0
        facts["facts"] = [f"auto  {'may choose it' if chosen else 'never chooses it'}"]
    if cls.kind == "report":
        facts["facts"] = [f"writes  {', '.join(build(cls, spec.values, subject=spec.name).files())}"]
    if callable(getattr(cls, "table", None)):
        facts["table"] = table_lines(cls.table())
    return facts


def _dataset_facts(dataset: Any) -> dict[str, list[str]]:
    files = [_file_line(need) for need in dataset.needs().files]
    listed = {"files": files} if files else {}
    try:
        info = dataset.info()
    except MissingError as error:
        return {"files": files or [str(error)]}
    except BenchError as error:
        return {"files": [*files, str(error)]}
    few, whole = usual_trainings(info)
    facts = [
        f"splits       {', '.join(f'{name} {count:,}' for name, count in info.counts.items())}",
        f"classes      {len(info.classes)}: {', '.join(info.classes[:12])}{', ...' * (len(info.classes) > 12)}",
        f"stored at    {info.resolution} px, classified at {info.classify_resolution} px",
        f"generated at {info.generate_resolution} px, or the model's own side if smaller; from text at the model's own",
        f"normalised   mean {_triple(info.mean)}, std {_triple(info.std)}",
        f"optimizer    {info.optimizer}",
        *([f"quick        {info.quick_shots} images per class"] if info.quick_shots else []),
        "compared     quick, draws x seeds: {} x {} of some real images, {} x {} of all".format(*few, *whole),
        *([f"paper cap    at most {info.paper_cap:,} images per class"] if info.paper_cap else []),
        *([f"groups       of {info.group_size:,} images (--subset groups)"] if info.group_size else []),
        f"prompt       {info.prompt.format((info.prompt_names or info.classes)[0])}",
        f"flip         {'keeps the class' if info.flip_keeps_class else 'changes the class: not used'}",
        f"foundation   {info.foundation}",
        f"licence      {info.licence}",
        f"source       {info.source}",
        f"paper        {info.paper or '-'}",
        *(f"note         {note}" for note in info.notes),
    ]
    return {"facts": facts, **listed}


def _file_line(need: Any) -> str:
    if need.path.exists():
        return f"here: {need.path}"
    return f"missing: {need.what}; looked for {need.path}; source: {need.source}"


def _triple(values: Any) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def named_plugin(name: str, kind: str | None) -> tuple[Any, Any]:
    """Return the spec and the catalog's entry of a plugin that a user names, by a registered name or a file.

    Raises:
        UsageError: there is none, or several kinds share the name and ``kind`` does not say which.
    """
    spec = parse_spec(name)
    if is_file_name(spec.name):
        return spec, catalog().get(kind, spec.name) if kind else _file_entry(spec.name)
    known = [entry for entry in catalog().entries(kind) if entry.name == spec.name]
    if not known:
        names = sorted({entry.name for entry in catalog().entries(kind)} | set(KINDS) | set(protocol_names()))
        raise UsageError(f"{spec.name}: no such plugin{nearest(spec.name, names)}; `bench list` shows all")
    if len(known) > 1:
        raise UsageError(f"{spec.name}: it is a {' and a '.join(e.kind for e in known)}; add --kind {known[0].kind}")
    return spec, known[0]


def _file_entry(name: str) -> Any:
    if not expanded(name).is_file():
        raise UsageError(f"{name}: no such file; a plugin is a registered name or a Python file")
    for kind in KINDS:
        try:
            return catalog().get(kind, name)
        except UsageError as error:
            last = error
            if "must define exactly one" not in str(error) or not str(error).endswith("none"):
                raise
    raise UsageError(f"{name}: defines no plugin ({last})")
