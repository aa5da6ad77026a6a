"""What the published datasets that come as arrays share: where their files lie, and how they answer.

A class below gives its :class:`Release` and a decoder. Without files it answers from the published facts; with files,
from what was decoded, and what differs from the published counts is in the notes. Nothing here imports an array.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchbench.errors import MissingError, UsageError
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, RequiredFile, Requirements, param

from ._place import Place

if TYPE_CHECKING:
    from ._decoded import Decoded


@dataclass(frozen=True)
class Release:
    """A dataset as its authors published it.

    Attributes:
        info: the published facts, counts and class counts among them.
        title: its name in print.
        library: the package that reads it.
        url: where the archive is.
        archive: file name of the archive.
        folder: the folder that it unpacks to; ``""`` for a file that is read as it is.
        files: files of that folder that are read, all needed.
        optional: files of that folder that are read when they are there.
    """

    info: DatasetInfo
    title: str
    library: str
    url: str
    archive: str
    folder: str = ""
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What of a release lies on this machine.

    Attributes:
        files: what is read: the archive, or the files of the unpacked folder, in the order of the release.
        folder: the unpacked folder; ``None`` for an archive.
    """

    files: tuple[Path, ...]
    folder: Path | None


@dataclass(frozen=True)
class PublishedArrays(Dataset):
    """A published dataset whose files hold arrays; subclasses give ``release`` and ``_decoded``."""

    release: ClassVar[Release]

    path: str | None = param(
        None,
        help="Folder with the published archive or with what it unpacks to, or either of them itself; by default "
        "the folder of the dataset's name in the data folder.",
    )

    def needs(self) -> Requirements:
        """Return the library, and the archive or what was found of it.

        Raises:
            UsageError: a folder has the archive's name, and nothing else is there.
        """
        found = self._found()
        if found is None:
            self._place.check()
        where = self._place.wanted() if found is None else found.folder or found.files[0]
        file = RequiredFile(where, self.release.title, self._source())
        return Requirements(packages=(self.release.library,), files=(file,))

    def external(self) -> tuple[Path, ...]:
        """Return the files that are read."""
        found = self._found()
        return found.files if found else ()

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of loading what was decoded when the plan was made."""
        return 1.0 + 1e-5 * images if stage == "data" else None

    def info(self) -> DatasetInfo:
        """Return the published facts, or with files the facts of what they hold; decodes them the first time.

        Raises:
            UsageError: the files are there and wrong: a checksum, a missing or damaged file, shapes or labels.
        """
        published, found = self.release.info, self._found()
        if found is None:
            return published
        facts = self._decoded(self._complete(found)).facts
        notes = (*published.notes, *facts["notes"])
        return replace(published, counts=facts["counts"], class_counts=tuple(facts["class_counts"]), notes=notes)

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, R, R, 3)``, memory-mapped; ``source`` of an origin is the published index.

        Raises:
            MissingError: the files are not there.
            UsageError: as :meth:`info`; or there is no such split.
        """
        from ._arrays import image_set

        found = self._found()
        if found is None:
            raise MissingError(
                f"{self._subject}: not found: {self.release.title}; looked for {self._place.wanted()}; {self._source()}"
            )
        return image_set(self._decoded(self._complete(found)), split, self.release.info.classes, self._subject)

    def fetch(self) -> None:
        """Download the archive with torchvision's downloader, verified; nothing is done for what is there and whole.

        Raises:
            MissingError: the host cannot be reached; the message says what to fetch by hand and where to put it.
            UsageError: ``path=`` names another file.
        """
        found = self._found()
        if found and found.folder and all(os.path.isfile(file) for file in found.files):
            return
        self._place.fetch(self._checksum)

    def _decoded(self, found: Found) -> Decoded:
        """Return what the files hold, from the cache when they were decoded before."""
        raise NotImplementedError

    def _checksum(self) -> str:
        """Return the archive's MD5 as the library gives it."""
        raise NotImplementedError

    @property
    def _remedy(self) -> str:
        """What to do about an archive that is not the published one."""
        return f"remove it and run `bench fetch {self._subject}`, or fetch {self.release.url} by hand"

    @property
    def _subject(self) -> str:
        return self._place.subject

    @property
    def _place(self) -> Place:
        return Place(self.release.info.name, self.path, self.release.archive, self.release.url)

    def _source(self) -> str:
        return f"`bench fetch {self._subject}` gets it, or by hand {self.release.url}"

    def _found(self) -> Found | None:
        """Return a complete unpacked folder, else the archive, else an incomplete folder, else ``None``."""
        base, release = self._place.base, self.release
        if os.path.isfile(base):
            return Found((base,), None)
        folders = (base / release.folder, base) if release.folder else ()
        held = {folder: [os.path.isfile(folder / name) for name in release.files] for folder in folders}
        for folder, there in held.items():
            if all(there):
                return self._in(folder)
        if archive := self._place.found():
            return Found((archive,), None)
        return next((self._in(folder) for folder, there in held.items() if any(there)), None)

    def _in(self, folder: Path) -> Found:
        more = (name for name in self.release.optional if os.path.isfile(folder / name))
        return Found(tuple(folder / name for name in (*self.release.files, *more)), folder)

    def _complete(self, found: Found) -> Found:
        if lacking := [file.name for file in found.files if not os.path.isfile(file)]:
            raise UsageError(
                f"{self._subject}: {found.folder}: missing {', '.join(lacking)}; {self.release.title} consists of "
                f"{', '.join(self.release.files)}; {self._source()}"
            )
        return found
