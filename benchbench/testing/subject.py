"""The plugin under test with what it is tested on, and the judgement of one check."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import BenchError, MissingError
from ..plugins import DatasetInfo
from ..plugins.context import Context, derive_seed
from ..plugins.images import ImageSet
from ..plugins.parameters import build

T = TypeVar("T")


class NotApplicable(Exception):  # noqa: N818 - control flow, like pytest's
    """A check of something that this plugin does not have, such as ``fit``; it leaves no result."""


class Killed(BaseException):
    """Stands in for SIGKILL: what a probe raises in the middle of a plugin's loop."""


@dataclass(frozen=True)
class CheckResult:
    """How one check went.

    Attributes:
        name: the promise, in words.
        ok: whether it is kept; true also when the check was skipped.
        message: what is wrong, why it was skipped, or a remark; often empty.
        skipped: whether it could not be judged here, for want of a file or a package.
    """

    name: str
    ok: bool
    message: str = ""
    skipped: bool = False


@dataclass
class Probe(Context):
    """A context that counts a plugin's progress, can kill it on the way, and asks for several chunks.

    ``resume`` saves after every item, so that a kill finds something to continue from.

    Attributes:
        kill_after: raise ``Killed`` once so many items of ``progress`` were handed out; ``None`` for never.
        ticks: items handed out so far.
        handed: chunks that ``chunks`` handed out.
    """

    save_every: float = 0.0
    kill_after: int | None = None
    ticks: int = 0
    handed: int = 0

    def progress(self, items: Iterable[T], total: int | None = None, label: str = "", unit: str = "it") -> Iterator[T]:
        """Yield ``items`` as ``Context.progress`` does, counting them."""
        for item in super().progress(items, total, label, unit):
            if self.kill_after is not None and self.ticks >= self.kill_after:
                raise Killed
            self.ticks += 1
            yield item

    def chunks(self, total: int, size: int, label: str = "sampling") -> Iterator[range]:
        """Yield ranges as ``Context.chunks`` does, small enough that there are several."""
        for chunk in super().chunks(total, max(1, min(size, total // 3)), label):
            self.handed += 1
            yield chunk


@dataclass
class Subject:
    """A plugin class with everything that its checks need.

    Attributes:
        cls: the plugin class.
        name: as the command line spells it.
        values: the parameter values it is checked with.
        folder: an empty folder for the checks.
        given: the training images, in memory.
        info: the dataset that they belong to.
        n_syn: how many images a generator makes.
        arch: the architecture to train, or ``None`` for the learner's first.
        began: when the checks began, in seconds since the epoch.
        opened: the files that were opened for reading since, whoever did.
    """

    cls: type
    name: str
    values: dict[str, Any]
    folder: Path
    given: ImageSet
    info: DatasetInfo
    n_syn: int
    arch: str | None
    seed: int = 7
    shared: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.time)
    opened: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=count)

    @cached_property
    def plugin(self) -> Any:
        """The plugin, made from ``values`` and resolved for the dataset (a dataset is taken as it is)."""
        made = build(self.cls, self.values, subject=self.name)
        return made if made.kind in ("dataset", "foundation") else made.resolve(self.info)

    @cached_property
    def train(self) -> ImageSet:
        """The training images as a run hands them out: memory-mapped and read-only."""
        folder = self.new_folder("train")
        self.given.save(folder)
        opened = ImageSet.load(folder)
        opened.labels.flags.writeable = False
        return opened

    def more(self, seed: int) -> ImageSet:
        """Return further images that resemble the training images and are not among them: those with noise."""
        rng = np.random.default_rng(derive_seed("more like train", seed))
        noise = rng.normal(0, 12, self.given.images.shape)
        images = np.clip(np.rint(np.asarray(self.given.images) + noise), 0, 255).astype(np.uint8)
        return ImageSet(images, self.given.labels, self.given.classes)

    def once(self, what: str, make: Callable[[], T]) -> T:
        """Return what ``make`` gives, called once for every check, under one state of the global random numbers."""
        if what not in self.shared:
            with global_randomness(1):
                self.shared[what] = make()
        made: T = self.shared[what]
        return made

    def new_folder(self, label: str) -> Path:
        """Return a new, empty folder."""
        folder = self.folder / f"{next(self._numbers):03d}-{label}"
        folder.mkdir()
        return folder

    def context(self, label: str, **changes: Any) -> Probe:
        """Return a context with new folders; ``changes`` replace its fields."""
        places = {
            place: changes.pop(place, None) or self.new_folder(f"{label}-{place}") for place in ("folder", "scratch")
        }
        return Probe(**{"seed": self.seed, "info": self.info, "n_syn": self.n_syn, **places, **changes})


Check = Callable[[Subject], str | None]


def judge(check: Check, subject: Subject) -> CheckResult | None:
    """Run one check; whatever it raises becomes its message. A check may return a remark."""
    name = check.__name__.replace("_", " ")
    try:
        with _recorded(subject.opened):
            return CheckResult(name, True, check(subject) or "")
    except NotApplicable:
        return None
    except MissingError as missing:
        return CheckResult(name, True, str(missing), skipped=True)
    except AssertionError as broken:
        return CheckResult(name, False, str(broken) or f"an assertion failed{_place(broken)}")
    except BenchError as error:
        return CheckResult(name, False, str(error))
    except (Exception, SystemExit) as error:  # a plugin that exits breaks a promise, and does not end the checks
        text = " ".join(str(error).split()) or "no message"
        return CheckResult(name, False, f"{type(error).__name__}: {text}{_place(error)}")


#: Where opened files are noted now; the hook that does it cannot be removed and is installed once.
_noted: list[set[str]] = []


@contextmanager
def _recorded(opened: set[str]) -> Iterator[None]:
    """Add the absolute path of every file that is opened for reading to ``opened``."""
    if not _noted:
        sys.addaudithook(_note)
        _noted.append(set())  # stays, and says that the hook is there
    _noted.append(opened)
    try:
        yield
    finally:
        _noted.pop()


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or len(_noted) < 2:
        return
    path, _, flags = arguments
    readable = isinstance(flags, int) and flags & os.O_ACCMODE != os.O_WRONLY
    if readable and isinstance(path, (str, bytes, os.PathLike)):
        _noted[-1].add(os.path.abspath(os.fsdecode(path)))


def _place(error: BaseException) -> str:
    """Name the innermost line outside the suite and the installed libraries: most likely the author's own."""
    here = str(Path(__file__).parent)
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith((here, "<"))
    ]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""


def require(kept: bool, message: str) -> None:
    """Raise ``AssertionError`` with ``message`` unless ``kept``; works under ``python -O`` too."""
    if not kept:
        raise AssertionError(message)


def require_json(value: Any, complaint: str, context: str = "") -> None:
    """Require plain JSON values, no NumPy scalars and no NaN; the error stands between complaint and context."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{complaint}: {error}{context}") from None


@contextmanager
def global_randomness(seed: int) -> Iterator[None]:
    """Seed every global random state, and put it back: a plugin that reads one is found out by two seeds."""
    torch = sys.modules.get("torch")
    before = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None
    random.seed(seed)
    np.random.seed(seed)
    if torch:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        if torch and before[2] is not None:
            torch.set_rng_state(before[2])


def folder_digest(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below ``folder`` by its relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def continues_after_a_kill(method: str, whole: Probe, start: Callable[..., Probe], subject: Subject) -> str:
    """Kill a method half way, start it again with the same scratch folder, and require the bytes of one go.

    Args:
        method: what it is called in messages.
        whole: the context of a run in one go.
        start: runs the method in a context with these fields changed, and returns the context.
        subject: the plugin under test.
    """
    if whole.ticks < 2:
        return f"not tried: {method} reports no progress through context.progress, where it could be stopped"
    scratch = subject.new_folder("killed-scratch")
    try:
        start(scratch=scratch, kill_after=whole.ticks // 2)
    except Killed:
        pass
    else:
        raise AssertionError(f"{method} went on after it was killed: it must not catch BaseException")
    same = folder_digest(start(scratch=scratch).folder) == folder_digest(whole.folder)
    require(same, f"{method} wrote other bytes after a kill and a second start than in one go")
    return ""


def same_images(one: ImageSet, other: ImageSet) -> bool:
    """Return whether two sets agree in every pixel, label, class name and origin."""
    return (
        np.array_equal(one.images, other.images)
        and np.array_equal(one.labels, other.labels)
        and one.classes == other.classes
        and [dict(item) for item in one.origins] == [dict(item) for item in other.origins]
    )
