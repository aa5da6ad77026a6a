"""Where the archive of a published dataset lies or belongs, and how it gets there: the same for all of them.

Nothing here imports an array or a library.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchbench.errors import UsageError
from benchbench.files import data_root

#: Endings by which a ``path=`` that is not there names an archive and not a folder.
ARCHIVES = (".gz", ".tgz", ".tar", ".npz", ".zip")


@dataclass(frozen=True)
class Place:
    """What ``path=`` of a published dataset says about its archive.

    Attributes:
        name: the dataset's name.
        path: the folder of the archive or the archive itself; ``None`` for the dataset's folder in the data folder.
        archive: file name of the archive as published.
        url: where the archive is published.
        folders: folders below ``path`` in which the archive is looked for.
    """

    name: str
    path: str | None
    archive: str
    url: str
    folders: tuple[str, ...] = ("",)

    @property
    def subject(self) -> str:
        """The start of every message."""
        return f"{self.name}:path={self.path}" if self.path else self.name

    @property
    def base(self) -> Path:
        """What ``path=`` says, or its default, absolute: ``"."`` has no parent to look for anything in."""
        return Path(os.path.abspath(Path(self.path).expanduser() if self.path else data_root() / self.name))

    def found(self) -> Path | None:
        """Return the archive, or ``None``; of a file that ``path=`` names the content is not looked at."""
        places = (self.base, *self._places())
        return next((place for place in places if os.path.isfile(place)), None)

    def check(self) -> None:
        """Refuse a folder, or whatever else is no file, that has the archive's name where the archive is nowhere.

        Raises:
            UsageError: there is one, named.
        """
        if self.found():
            return
        named = (self.base,) if self.base.name == self.archive else ()
        for place in (*named, *self._places()):
            if os.path.exists(place):
                what = "a folder" if os.path.isdir(place) else "no regular file"
                raise UsageError(
                    f"{self.subject}: {place} is {what}, not the archive; move it away and fetch {self.url}, or give "
                    "path= of another folder"
                )

    def wanted(self) -> Path:
        """Return where the archive is, or belongs."""
        named = self.base.suffix in ARCHIVES and not self.base.is_dir()
        return self.found() or (self.base if named else self.base / self.archive)

    def fetch(self, md5: str | Callable[[], str]) -> None:
        """Download the archive with torchvision's downloader to :meth:`wanted`, unless it is there and whole.

        Args:
            md5: its checksum in hex, or a function that returns it.

        Raises:
            MissingError: it cannot be downloaded; the message says what to fetch by hand and where to put it.
            UsageError: another file is there, or the folder cannot be written.
        """
        from ._fetching import fetch_file

        fetch_file(self.url, md5, self.wanted(), self.archive, self.subject)

    def _places(self) -> tuple[Path, ...]:
        return tuple(self.base / folder / self.archive for folder in self.folders)
