"""The harness's own part of a key: the normal form of a module whose code decides results for every plugin."""

from __future__ import annotations

import hashlib

from .imports import file_digest, installed_module, parsed
from .normal_form import normal_form

_REMEMBERED: dict[str, tuple[str, str]] = {}


def harness_code(name: str) -> str:
    """Return the hash (64 hex digits) of one harness module's normal form; comments do not change it.

    Args:
        name: dotted name, such as ``"benchbench.planning.subsets"``.
    """
    module = installed_module(name)
    if module is None:
        raise ValueError(f"{name}: no source file")
    digest = file_digest(module.path)
    if _REMEMBERED.get(name, ("", ""))[0] != digest:
        _REMEMBERED[name] = (digest, hashlib.sha256(normal_form(parsed(module.path)).encode()).hexdigest())
    return _REMEMBERED[name][1]
