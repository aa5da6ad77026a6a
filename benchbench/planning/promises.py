"""Plugins found by what they promise: the harness knows a baseline or a base augmentation by that, not by its name."""

from __future__ import annotations

from ..errors import UsageError
from ..plugins.catalog import Entry, catalog, load


def promised(kind: str, promise: str) -> str | None:
    """Return the installed plugin of a kind whose class has a true attribute ``promise``; ``None`` if none has.

    What ships with the harness comes before a stranger's; a broken plugin does not stop the others.
    """
    own = own_entries(kind)
    for entry in [*own, *(entry for entry in catalog().entries(kind) if entry not in own)]:
        try:
            if getattr(load(entry), promise, False):
                return entry.name
        except UsageError:
            continue
    return None


def own_entries(kind: str) -> list[Entry]:
    """Return the plugins of a kind that ship with the harness, by name."""
    own = __name__.partition(".")[0]
    return [entry for entry in catalog().entries(kind) if entry.distribution == own]
