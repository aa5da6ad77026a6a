"""What the tests of published datasets share: other published facts, and the one line of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from benchbench.errors import BenchError, UsageError
from benchbench_plugins.datasets._published import Published


def publish(monkeypatch: pytest.MonkeyPatch, kind: type[Published], side: int | None = None, **changes: object) -> None:
    """Change what a dataset's class says was published: ``url``, ``md5``, or the side of its images in px."""
    if side is not None:
        changes["info"] = replace(kind.release.info, resolution=side)
    monkeypatch.setattr(kind, "release", replace(kind.release, **changes))


def refusal(call: Callable[[], object], kind: type[BenchError] = UsageError) -> str:
    """Return the one line with which a method of a dataset refuses."""
    with pytest.raises(kind) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def reason(dataset: Published) -> str:
    """Return the one line with which a dataset refuses to be described, without its subject."""
    message, subject = refusal(dataset.info), f"{dataset.release.info.name}:path={dataset.path}: "
    assert message.startswith(subject)
    return message.removeprefix(subject)
