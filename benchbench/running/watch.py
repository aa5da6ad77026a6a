"""``Watch``: the files that decided a step's key, compared with the plan for as long as the step runs.

A key is made when a run is planned; the step may begin hours later and take days. So everything that its key names
the content of (paths among the parameters, ``input_paths``, ``data_files``, pretrained models) is compared with the
plan when the step begins, again before work is kept for a next run, and before the result is published. Signatures that
did not change prove it without reading. What was swapped and put back between two looks shows in them as well
(:func:`benchbench.keys.content.may_have_been_swapped`); then nothing that was made in between is kept.

A look costs a walk over the files, so that looks take at most 2 % of a step's time. What is kept between two of them is
noted first, in ``SCRATCH/.unchecked``. A look that finds everything in order takes the note away; one that does not
removes what the note names, and so does the next run where a kill came first. Hence whatever is kept and not noted was
made from the right files.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import BenchError, MissingError, UsageError
from ..files import write_atomic
from ..keys.content import Look, look, may_have_been_swapped
from ..planning.resolved import hash_of, instantiate, paths_in_key, reopened

#: A look waits until the step has worked this many times as long as the last look took.
REST = 50
UNCHECKED = ".unchecked"


@dataclass(frozen=True)
class Reader:
    """A plugin that a step calls.

    Attributes:
        location: where it is, as :meth:`benchbench.planning.resolved.ResolvedPlugin.location` says.
        planned: the part of the step's body about it: ``name``, ``values``, ``external`` and ``foundations``.
        stage: the stage that ``planned`` is for.
        models: pretrained models that it opens in this step beside those it always needs.
    """

    location: Mapping[str, Any]
    planned: Mapping[str, Any]
    stage: str
    models: tuple[str, ...] = ()


class Watch:
    """Watches the files of one step."""

    def __init__(self, readers: Sequence[Reader], preset: str, scratch: Path) -> None:
        """Compare all files with the plan, and remove what an earlier run kept and did not live to check.

        Args:
            readers: the plugins whose files entered the key.
            preset: the request's.
            scratch: the folder in which the step keeps unfinished work.

        Raises:
            BenchError: something changed since the plan; the message names plugin and file.
        """
        self._scratch, self._note, self._noted = scratch, scratch / UNCHECKED, list[str]()
        self._drop_unchecked()
        with _explained():
            plugins = [instantiate(reader.location) for reader in readers]
            self._read = [
                (plugin, (*plugin.needs().foundations, *reader.models))
                for plugin, reader in zip(plugins, readers, strict=True)
            ]
            self._looks = self._look()  # before the content is read: what changes after it shows at the next look
            for reader in readers:
                plugin = reopened(reader.location, preset)
                for what in plugin.changes(reader.planned, reader.stage, reader.models):
                    raise BenchError(f"{plugin.name}: {what} changed since the plan; run again")
            self._contents = {path: hash_of(path) for path in self._looks}

    def check(self) -> None:
        """Look at all files again.

        Raises:
            BenchError: something changed since the plan, or may have been something else since the last look. What was
                kept since then is gone.
        """
        try:
            with _explained():
                looks = self._look()
                for path in sorted(looks.keys() | self._looks.keys()):
                    self._compare(path, self._looks.get(path), looks.get(path))
        except Exception:
            self._drop_unchecked()
            raise
        self._looks = looks
        self._forget()

    def before_keeping(self, path: Path) -> None:
        """Look at all files before ``path``, below the scratch folder, appears; or note it, when that is too early.

        Raises:
            BenchError: as :meth:`check`.
        """
        early = time.monotonic() - self._looked_at < REST * self._cost
        if not early or os.path.lexists(path):  # what would replace work that was checked is not kept on trust
            self.check()
        else:
            self._noted.append(path.relative_to(self._scratch).as_posix())
            write_atomic(self._note, json.dumps(self._noted))

    def _look(self) -> dict[Path, Look]:
        """Look at all files there are; plugins are asked each time, as what they read may depend on what is there."""
        began = time.monotonic()
        paths = {path for plugin, models in self._read for path in paths_in_key(plugin, models) if os.path.exists(path)}
        looks = {path: look(path) for path in paths}
        self._looked_at = time.monotonic()
        self._cost = self._looked_at - began
        return looks

    def _compare(self, path: Path, before: Look | None, now: Look | None) -> None:
        if before is None or now is None:
            raise BenchError(f"{path}: changed since the plan; run again")
        if before == now and before.settled:
            return
        if hash_of(path) != self._contents[path]:
            raise BenchError(f"{path}: changed since the plan; run again")
        if may_have_been_swapped(before, now):
            raise BenchError(f"{path}: was touched while the step ran, and may have been something else; run again")

    def _drop_unchecked(self) -> None:
        """Remove what was kept and not checked since."""
        if not self._note.exists():
            return
        try:
            names = [str(name) for name in json.loads(self._note.read_bytes())]
        except (OSError, ValueError, TypeError):
            names = os.listdir(self._scratch)  # which of it was checked nobody knows
        for name in names:
            path = self._scratch / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        self._note.unlink(missing_ok=True)
        self._noted.clear()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say of what is no longer there that it was when the run was planned."""
    try:
        yield
    except (UsageError, MissingError) as error:
        raise BenchError(f"{error}; it was there when the run was planned: run again") from None
