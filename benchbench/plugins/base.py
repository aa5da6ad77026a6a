"""What every kind of plugin shares, and what one may require of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from typing import Self

    from .dataset import DatasetInfo

#: Methods of version 0.1, each with what it is called now.
RENAMED = {"external": "input_paths", "check_side": "check_resolution", "training_side": "train_resolution"}


@dataclass(frozen=True)
class RequiredFile:
    """A file or folder that must be there before work begins.

    Attributes:
        path: where it is looked for.
        what: what it is, for the message when it is missing.
        source: where a user gets it.
    """

    path: Path
    what: str
    source: str


@dataclass(frozen=True)
class Requirements:
    """What a plugin cannot work without; the preflight checks it before the first second of work.

    Attributes:
        packages: names as imported (``"open_clip"``); ``extras`` maps one to the extra that installs it.
        foundations: pretrained models, each a known name, a local folder or a hub id.
        files: files that the user has to provide.
        memory_gib: peak memory of one step, in GiB, 0 when small; steps that do not fit together wait for each other.
        accelerator: whether a CPU would take unreasonably long (a warning, not an error).
    """

    packages: tuple[str, ...] = ()
    foundations: tuple[str, ...] = ()
    files: tuple[RequiredFile, ...] = ()
    extras: Mapping[str, str] = field(default_factory=dict)
    memory_gib: float = 0.0
    accelerator: bool = False


@dataclass(frozen=True)
class Plugin:
    """What every kind shares. Subclass one of the kinds below, not this."""

    kind: ClassVar[str] = ""
    #: Files next to the module whose content changes results (a table, a word list): they enter the key.
    data_files: ClassVar[tuple[str, ...]] = ()
    #: Distributions whose version changes results enough to enter the key.
    pinned_distributions: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Refuse a method of version 0.1, which nothing would call.

        Raises:
            TypeError: the class has one; the message says what it is called now.
        """
        super().__init_subclass__()
        for old in RENAMED.keys() & vars(cls).keys():
            raise TypeError(f"{cls.__name__}.{old} is called {RENAMED[old]} since version 0.2")

    def needs(self) -> Requirements:
        """Return what must be there before work begins."""
        return Requirements()

    def resolve(self, info: DatasetInfo) -> Self:
        """Return this plugin with what depends on the dataset filled in (a ``None`` model, a resolution)."""
        return self

    def input_paths(self) -> tuple[Path, ...]:
        """Return files and folders outside the plugin whose content decides results; hashed into the key."""
        return ()

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of a stage over ``images`` on one core; ``None`` leaves it to measured priors.

        A distribution keeps those in ``estimates.json``, see :mod:`benchbench.planning.estimates`.
        """
        return None
