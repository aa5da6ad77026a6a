"""The preflight: what is missing is said before the first second of work, not after fifteen hours."""

from __future__ import annotations

import importlib.util

from ..errors import MissingError, UsageError
from ..machine import has_cuda, memory_gib
from ..plugins.locate import download_foundation, locate
from ..plugins.parameters import parameters
from .resolved import ResolvedPlugin
from .spec import Spec


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
