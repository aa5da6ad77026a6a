"""Steps that another run works on: when each is tried again, and what is said about it, once each."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass

from ..store.lock import Owner

#: Seconds until a busy step is tried again: at first, and at most; each time twice as many.
_FIRST_S, _MOST_S = 0.25, 30.0
#: Seconds that a worker with nothing else to do waits for a step at most: so long it sees no other one.
_WAIT_S = 4.0
#: Seconds without a sign of life that are worth a word: a network file system shows one up to a minute late.
_SILENT_S = 120.0


@dataclass
class _Busy:
    """What is known of a step: seconds to the next try, the newest sign of life, and since when none was newer."""

    pause: float
    seen: float | None
    since: float
    said_silent: bool = False


class Postponed:
    """Steps that are to be tried again, by key; what one costs does not depend on how many there are."""

    def __init__(self) -> None:
        self._known: dict[str, _Busy] = {}
        self._due: list[tuple[float, str]] = []

    def __contains__(self, key: str) -> bool:
        """Return whether a step was busy when it was last tried."""
        return key in self._known

    def add(self, key: str, owner: Owner | None) -> str | None:
        """Put a step that is busy off, longer each time; returns what is to be said, if that was not said yet."""
        now, seen = time.monotonic(), owner.seen if owner else None
        busy = self._known.get(key)
        if busy is None:
            busy = self._known[key] = _Busy(_FIRST_S, seen, now)
            said = f"another run works on it{f' ({owner})' if owner else ''}"
        else:
            busy.pause = min(2 * busy.pause, _MOST_S)
            said = None
        if seen != busy.seen:
            busy.seen, busy.since = seen, now
        # By this clock alone: that of another machine may go wrong.
        elif owner and now - busy.since > _SILENT_S and not busy.said_silent:
            busy.said_silent = True
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(owner.seen))
            said = f"no sign of life since {when} from {owner}, which works on it; if it is stopped, continue it there"
            said += f" (kill -CONT {owner.pid}); if it hangs, end it (kill -9 {owner.pid}), and the step is free"
        heapq.heappush(self._due, (now + busy.pause, key))
        return said

    def due(self) -> list[str]:
        """Take out the steps whose time has come."""
        found, now = [], time.monotonic()
        while self._due and self._due[0][0] <= now:
            found.append(heapq.heappop(self._due)[1])
        return found

    def first(self) -> tuple[str, float] | None:
        """Take out the step that is due first, before its time; returns it with the seconds to wait for it."""
        if not self._due:
            return None
        key = heapq.heappop(self._due)[1]
        return key, min(self._known[key].pause, _WAIT_S)
