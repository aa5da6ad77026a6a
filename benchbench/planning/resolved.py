"""``ResolvedPlugin``: a spec that met the catalog: a checked instance, its spelling, its code and content hashes.

The preflight: what is missing is said before the first second of work, not after fifteen hours.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..errors import MissingError, UsageError
from ..files import cache_root, expanded
from ..keys.code import CodeSource, fingerprint
from ..keys.content import content_hash
from ..machine import has_cuda, memory_gib
from ..plugins import DatasetInfo, Plugin, Requirements
from ..plugins.catalog import Entry, catalog, is_file_name, load
from ..plugins.locate import download_foundation, locate
from ..plugins.parameters import build, format_value, parameters, values_of
from .spec import Spec
from .steps import digest


@dataclass(frozen=True)
class ResolvedPlugin:
    """A plugin ready to be planned.

    Attributes:
        entry: its place in the catalog.
        plugin: the instance, with everything that depends on the dataset filled in.
        preset: the preset that filled in what the user did not set.
        places: texts of parameters that are paths, with the name and the content hash that stand for each in records.
        set_values: names of the parameters that the user set.
    """

    entry: Entry
    plugin: Any
    preset: str
    places: Mapping[str, tuple[str, str]]
    set_values: tuple[str, ...]
    _codes: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _trainings: dict[Any, ResolvedPlugin] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The plugin's name without a folder."""
        return Path(self.entry.name).name if is_file_name(self.entry.name) else self.entry.name

    @property
    def text(self) -> str:
        """The spelling in tables: the name, and the values that differ from the preset's and move results."""
        shown = {}
        for item in parameters(type(self.plugin)):
            value, usual = getattr(self.plugin, item.name), item.absolute(item.preset(self.preset))
            if item.affects_result and item.name in self.set_values and value != usual:
                shown[item.name] = self._replaced(value, lambda name, content: f"{name}@{content[:8]}")
        return str(Spec(self.place, shown))

    @property
    def place(self) -> str:
        """The name as tables tell it: for a file below the present folder with its folder, so that two stay apart."""
        if self.entry.file is None:
            return self.name
        try:
            return self.entry.file.relative_to(Path.cwd()).as_posix()
        except ValueError:
            return self.name  # elsewhere on this machine, which is nobody's business

    def _replaced(self, value: Any, spell: Callable[[str, str], str]) -> Any:
        """Return a value with every path in it spelled by its name and content hash."""
        if isinstance(value, tuple):
            return tuple(self._replaced(item, spell) for item in value)
        place = self.places.get(str(value)) if isinstance(value, (str, Path)) else None
        return spell(*place) if place else value

    def _content(self, value: Any, digits: int | None = 8) -> Any:
        """Return a value as keys know it: a path by its content alone, so that a renamed folder changes nothing."""
        return self._replaced(value, lambda _, content: content[:digits])

    @cached_property
    def needs(self) -> Requirements:
        """What must be there before work begins; the plugin is asked once."""
        needs: Requirements = self.plugin.needs()
        return needs

    def values(self, stage: str) -> dict[str, Any]:
        """Return the values that enter the key of a stage: those that differ from the default, and every path."""
        values = values_of(self.plugin, stage=stage)
        for item in parameters(type(self.plugin)):
            value = getattr(self.plugin, item.name)
            if item.enters_key(stage) and item.paths(value):
                values[item.name] = value
        return {name: _json(self._content(value, None)) for name, value in sorted(values.items())}

    def sentence(self) -> dict[str, Any]:
        """Return name and values that differ from the default, whatever the stage: this link of a sentence.

        What changes speed or memory alone is left out, as of every key: it would split the rows of one training.
        """
        moving = {item.name for item in parameters(type(self.plugin)) if item.affects_result}
        values = {name: value for name, value in values_of(self.plugin).items() if name in moving}
        return {
            "name": self.place,
            "values": {name: _json(self._content(value)) for name, value in sorted(values.items())},
        }

    def content(self, stage: str) -> dict[str, Any]:
        """Return what files and folders put into the key of a stage, as a worker finds it again (:meth:`changes`)."""
        return {"values": self.values(stage), "external": self.input_hashes, "foundations": self.foundations}

    def changes(self, planned: Mapping[str, Any], stage: str, models: Iterable[str] = ()) -> Iterator[str]:
        """Yield what has no longer the content that a plan found, each as the user knows it; reads what is there now.

        Args:
            planned: what :meth:`content` gave then, foundations of ``models`` by name among them.
            stage: the stage that it was given for.
            models: pretrained models beside those that the plugin needs whatever it does.

        Raises:
            UsageError, MissingError: something is not there, or cannot be read.
        """
        values = self.values(stage)
        for name in sorted(values.keys() | planned["values"].keys()):
            if values.get(name) != planned["values"].get(name):
                yield f"{name}={format_value(getattr(self.plugin, name))}"
        for path, now, before in zip_longest(self.plugin.input_paths(), self.input_hashes, planned["external"]):
            if now != before:
                yield f"'{path}'" if path else "a file that it read"
        known = planned.get("foundations", {})
        for name in (*self.needs.foundations, *models):
            if foundation_hash(name) not in (known.get(self._content(name)), known.get(name)):
                yield f"the model '{name}'"

    def for_training(self, arch: str | None, info: DatasetInfo, n_real: int) -> ResolvedPlugin:
        """Return a learner as one training needs it (:meth:`benchbench.plugins.Learner.for_training`)."""
        asked = (arch, info.name, n_real)
        if asked not in self._trainings:  # a plan asks for each of a thousand cells
            made = replace(self)
            # Its files, models and code are the same, and were hashed.
            vars(made).update({**vars(self), "plugin": self.plugin.for_training(arch, info, n_real)})
            self._trainings[asked] = made
        return self._trainings[asked]

    def code(self, stage: str) -> str:
        """Return the fingerprint of the code of a stage, as it was when it was first asked for: one per plan."""
        if stage not in self._codes:
            self._codes[stage] = fingerprint(CodeSource.from_class(type(self.plugin)), stage)
        return self._codes[stage]

    def location(self) -> dict[str, Any]:
        """Return what a worker needs to make the same instance: JSON."""
        values = {item.name: _json(getattr(self.plugin, item.name)) for item in parameters(type(self.plugin))}
        file = str(self.entry.file) if self.entry.file else None
        return {
            "kind": self.entry.kind,
            "name": self.entry.name,
            "target": self.entry.target,
            "file": file,
            "values": values,
        }

    # A plan of a thousand cells asks for these for each cell, and they walk folders.

    @cached_property
    def foundations(self) -> dict[str, str]:
        """The content hash of every pretrained model that the plugin uses, by what stands for its name."""
        return {self._content(name): foundation_hash(name) for name in self.needs.foundations}

    @cached_property
    def input_hashes(self) -> list[str]:
        """The content hashes of the files and folders that the plugin reads, beyond those that are parameters."""
        return [hash_of(path) for path in self.plugin.input_paths()]


def resolve(kind: str, spec: Spec, preset: str, info: DatasetInfo | None = None) -> ResolvedPlugin:
    """Look a spec up, check its values and fill in what depends on the dataset.

    Raises:
        UsageError: an unknown plugin or parameter, a value out of range, a path at which nothing is, a broken plugin.
    """
    entry = catalog().get(kind, spec.name)
    plugin: Plugin = build(load(entry), spec.values, subject=spec.name, preset=preset)
    check_paths(plugin, spec)
    if info is not None:
        plugin = plugin.resolve(info)
        check_paths(plugin, spec)
    return ResolvedPlugin(entry, plugin, preset, {}, tuple(spec.values))


def check_paths(plugin: Plugin, spec: Spec) -> None:
    """Refuse a plugin whose parameters name a file or folder that is not there and must be.

    Args:
        plugin: the plugin.
        spec: as the user wrote it.

    Raises:
        UsageError: nothing is at such a path.
    """
    for item in parameters(type(plugin)):
        for path in item.paths(getattr(plugin, item.name)) if item.must_exist else ():
            if not os.path.exists(path):
                typed = format_value(spec.values.get(item.name, path))
                which = f" at {path}" if item.is_list else ""
                raise UsageError(f"{spec.name}:{item.name}={typed}: no such file or folder{which}")


def with_hashed_paths(resolved: ResolvedPlugin) -> ResolvedPlugin:
    """Read the content of every path among the values, so that keys and records name content and not places."""
    places: dict[str, tuple[str, str]] = {}
    outside = [expanded(path).resolve() for path in resolved.plugin.input_paths()]
    models = set(resolved.needs.foundations)
    for item in parameters(type(resolved.plugin)):
        value = getattr(resolved.plugin, item.name)
        for declared in item.paths(value):
            places[str(declared)] = declared.name, hash_of(declared) if os.path.exists(declared) else "absent"
        if item.is_path or not isinstance(value, str) or not value:
            continue
        path = expanded(value).resolve()
        below = [other for other in outside if other == path or path in other.parents]
        if value in models:
            if download_foundation(value) == path:
                places[value] = path.name, foundation_hash(value)
        elif below:
            content = hash_of(below[0]) if len(below) == 1 else digest([hash_of(other) for other in below])
            places[value] = path.name, content
    placed = replace(resolved, places=places)
    vars(placed)["needs"] = resolved.needs
    return placed


def instantiate(location: Mapping[str, Any]) -> Any:
    """Make the plugin instance that :meth:`ResolvedPlugin.location` describes; the worker's half."""
    return build(load(_entry(location)), location["values"], subject=location["name"])


def _entry(location: Mapping[str, Any]) -> Entry:
    file = Path(location["file"]) if location["file"] else None
    return Entry(location["kind"], location["name"], location["target"], file=file)


def reopened(location: Mapping[str, Any], preset: str) -> ResolvedPlugin:
    """Return a plugin that :meth:`ResolvedPlugin.location` describes, with the content of its paths as it is now."""
    return with_hashed_paths(ResolvedPlugin(_entry(location), instantiate(location), preset, {}, ()))


def paths_in_key(plugin: Plugin, models: Iterable[str]) -> Iterator[Path]:
    """Yield the files and folders whose content enters a plugin's keys, and those of ``models``, there or not.

    Raises:
        UsageError, MissingError: a model is not on this machine.
    """
    for item in parameters(type(plugin)):
        yield from item.paths(getattr(plugin, item.name))
    yield from plugin.input_paths()
    if plugin.data_files:
        declares = next(base for base in type(plugin).__mro__ if "data_files" in vars(base))
        yield from (CodeSource.from_class(declares).path.parent / name for name in plugin.data_files)
    yield from (locate(name) for name in models)


def hash_of(path: Path) -> str:
    """Return the content hash of a file or folder, remembered between runs by size and modification time."""
    return content_hash(path, cache_root() / "contents.json")


def foundation_hash(name: str) -> str:
    """Return the content hash of a pretrained model's folder."""
    return hash_of(download_foundation(name))


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def check_needs(resolved: ResolvedPlugin, device: str, *, download: bool = True) -> list[str]:
    """Check what a plugin declares that it needs; returns warnings.

    Args:
        resolved: the plugin.
        device: ``"cpu"`` or ``"cuda"``.
        download: fetch a pretrained model that is not here; otherwise its absence is an error.

    Raises:
        MissingError: a package, a file or a pretrained model that is neither here nor reachable.
        UsageError: a place that may not be looked into.
    """
    try:
        needs = resolved.needs
        absent = next((file for file in needs.files if not file.path.exists()), None)
    except PermissionError as error:
        raise UsageError(f"{_subject(resolved)}: cannot read {error.filename}: permission denied") from None
    for package in needs.packages:
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            extra = needs.extras.get(package)
            how = f"pip install 'benchbench[{extra}]'" if extra else f"pip install {package}"
            raise MissingError(f"{resolved.name}: needs the package {package}, which is not installed; {how}")
    if absent is not None:
        where = f"looked for {absent.path}; put it there; source: {absent.source}"
        raise MissingError(f"{_subject(resolved)}: not found: {absent.what}; {where}")
    for name in needs.foundations:
        check_foundation(name, resolved, download)
    warnings = []
    if needs.accelerator and device == "cpu":
        hint = "; --device cuda would use the one here" if has_cuda() else ""
        warnings.append(f"{resolved.name}: made for an accelerator; on a CPU this takes very long{hint}")
    if needs.memory_gib > memory_gib():
        warnings.append(
            f"{resolved.name}: may need {needs.memory_gib:g} GiB of memory; {memory_gib():.1f} GiB are free"
        )
    return warnings


def _subject(resolved: ResolvedPlugin) -> str:
    """Return the plugin as the user wrote it, so that of two that differ in a path the right one is named."""
    set_values = {name: getattr(resolved.plugin, name) for name in resolved.set_values}
    return str(Spec(resolved.name, set_values))


def absent_models(resolved: ResolvedPlugin) -> bool:
    """Return whether a pretrained model that a plugin needs is not on this machine yet."""
    for name in resolved.needs.foundations:
        try:
            locate(name)
        except MissingError:
            return True
        except UsageError:
            continue  # said by the check
    return False


def check_foundation(name: str, resolved: ResolvedPlugin, download: bool) -> None:
    """Make sure that a pretrained model is on this machine, fetching it where that is allowed.

    Raises:
        MissingError: it is neither here nor reachable.
        UsageError: neither a known name, nor a folder, nor a hub id.
    """
    names = (item.name for item in parameters(type(resolved.plugin)) if getattr(resolved.plugin, item.name) == name)
    subject = next((f"{item}=" for item in names), " ")
    try:
        if download:
            download_foundation(name)
        else:
            locate(name)
    except MissingError as error:
        hint = "" if download else "; or let `bench run` fetch it where the hub can be reached"
        raise MissingError(f"{resolved.name}:{subject}{error}{hint}") from None
    except UsageError as error:
        raise UsageError(f"{resolved.name}:{subject}{error}") from None
