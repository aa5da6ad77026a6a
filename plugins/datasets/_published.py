"""Base classes of the published datasets: where the archive lies or belongs, and how it gets there.

Of a dataset of image files (:class:`PublishedImages`) the folder of images is preferred to the archive.

Nothing here imports an array or a library.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from benchbench.errors import MissingError, UsageError
from benchbench.files import data_root, expanded
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, RequiredFile, Requirements, param

from ._listing import Listing, listed, subject_first

#: Endings by which a ``path=`` that is not there names an archive and not a folder.
ARCHIVES = (".gz", ".tgz", ".tar", ".npz", ".zip")


@dataclass(frozen=True)
class Release:
    """A dataset as its authors published it.

    Attributes:
        info: the published facts, counts and class counts among them.
        title: what messages call it.
        url: where the archive is.
        archive: file name of the archive.
        folder: the folder that it unpacks to; ``""`` for a file that is read as it is.
        md5: checksum of the archive in hex.
        limit: bytes that the archive may unpack to; by default above what any of them takes.
        inside: folders below ``path`` in which the archive is looked for, and of image files ``folder`` too.
        files: of arrays: files of ``folder`` that are read, all needed, each with its MD5.
        optional: of arrays: files of ``folder`` that are read when they are there.
        held: of image files: names of folders, any of which shows that ``path`` is ``folder`` itself.
        held_text: of image files: the same in words.
    """

    info: DatasetInfo
    title: str
    url: str
    archive: str
    md5: str
    folder: str = ""
    limit: int = 8 * 2**30
    inside: tuple[str, ...] = ("",)
    files: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    held_text: str = ""


@dataclass(frozen=True)
class Published(Dataset):
    """A published dataset; subclasses give ``release`` and what is read of it."""

    release: ClassVar[Release]

    path: str | None = param(
        None,
        help="Folder with the published archive or with what it unpacks to, or either of them itself; by default "
        "the folder of the dataset's name in the data folder.",
    )

    @subject_first
    def needs(self) -> Requirements:
        """Return what is here of the files, or where they belong.

        Raises:
            UsageError: a folder, or whatever else is no file, has the archive's name, and nothing else is there.
        """
        here = self._here()
        named = (self._base,) if self._base.name == self.release.archive else ()
        for place in (*named, *self._archive_places()):
            if here is None and os.path.exists(place):
                what = "a folder" if os.path.isdir(place) else "no regular file"
                raise UsageError(
                    f"{place} is {what}, not the archive; move it away and fetch {self.release.url}, or give path= of "
                    "another folder"
                )
        return Requirements(files=(RequiredFile(here or self._place, self.release.title, self._source()),))

    @subject_first
    def fetch(self) -> None:
        """Download the archive with torchvision's downloader, verified; nothing is done for what is there and whole.

        Raises:
            MissingError: it cannot be downloaded; the message says what to fetch by hand and where to put it.
            UsageError: ``path=`` names another file, or the folder cannot be written.
        """
        from ._archives import fetch_file

        if self._unpacked() is None:
            fetch_file(self.release.url, self.release.md5, self._wanted, self.release.archive)

    def _here(self) -> Path | None:
        """Return what is read: a folder, else the archive; ``None`` when neither is here."""
        return self._unpacked() or self._archive()

    def _unpacked(self) -> Path | None:
        """Return the folder that the archive unpacks to, if it is here, complete."""
        raise NotImplementedError

    def _verify(self, archive: Path) -> None:
        """Compare an archive with its published checksum.

        What was computed is remembered by the file's size, times and inode, so that the second time takes milliseconds.

        Raises:
            UsageError: the checksum differs, or the file cannot be read.
        """
        from ._cache import digest_of

        digest = digest_of(archive)
        if digest != self.release.md5:
            raise UsageError(
                f"{archive}: wrong checksum: md5 {self.release.md5} is published, this file "
                f"({archive.stat().st_size:,} bytes) has {digest}; {self._remedy}"
            )

    @property
    def _remedy(self) -> str:
        """What to do about an archive that is not the published one."""
        raise NotImplementedError

    def _source(self) -> str:
        """Return how to get the files."""
        raise NotImplementedError

    @property
    def _subject(self) -> str:
        """The start of every message."""
        name = self.release.info.name
        return f"{name}:path={self.path}" if self.path else name

    @property
    def _base(self) -> Path:
        """What ``path=`` says, or its default, absolute: ``"."`` has no parent to look for anything in."""
        given = expanded(self.path) if self.path else data_root() / self.release.info.name
        return Path(os.path.abspath(given))

    @property
    def _place(self) -> Path:
        """Where the files belong when none is here."""
        return self._wanted

    @property
    def _wanted(self) -> Path:
        """Where the archive is, or belongs."""
        named = self._base.suffix in ARCHIVES and not self._base.is_dir()
        return self._archive() or (self._base if named else self._base / self.release.archive)

    def _archive(self) -> Path | None:
        """Return the archive, or ``None``; of a file that ``path=`` names the content is not looked at."""
        return next((place for place in (self._base, *self._archive_places()) if os.path.isfile(place)), None)

    def _archive_places(self) -> list[Path]:
        return [self._base / folder / self.release.archive for folder in self.release.inside]


def with_article(name: str) -> str:
    """Return a class as it reads inside a prompt: ``"an airplane"``."""
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


@dataclass(frozen=True)
class PublishedImages(Published):
    """A published dataset of image files; subclasses say which images the folder holds."""

    def input_paths(self) -> tuple[Path, ...]:
        """Return the images or the archive; where neither is, where to look."""
        return (self._here() or self._base,)

    @subject_first
    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, R, R, 3)``; ``source`` of an origin is the path below the folder of images.

        Raises:
            MissingError: no images are there.
            UsageError: as :meth:`info`, for what has changed since; a file that cannot be used as an image, named.
        """
        from ._archives import unpacked
        from ._scan import load_items

        release, archive = self.release, self._archive()
        images, content = self._unpacked(), None
        if images is None:
            if archive is None:
                folders = ", ".join(map(str, self._image_folders()))
                raise MissingError(
                    f"{release.title} are not here; looked for {folders}, {release.held_text} in "
                    f"{self._base} and {self._wanted}; {self._source()}"
                )
            self._verify(archive)
            images = unpacked(archive, release.md5, release.limit) / release.folder
            content = release.md5
        return load_items(self._listing(images), split, release.info.resolution, context, content)

    def _unpacked(self) -> Path | None:
        base = self._base
        if folder := next((folder for folder in self._image_folders() if folder.is_dir()), None):
            return folder
        return base if any((base / name).is_dir() for name in self.release.held) else None

    def _image_folders(self) -> list[Path]:
        return [self._base / inside / self.release.folder for inside in self.release.inside]

    def _listing(self, root: Path) -> Listing:
        """Return which images of a folder belong to which class and part."""
        raise NotImplementedError

    @property
    def _place(self) -> Path:
        return self._base / self.release.folder

    @property
    def _remedy(self) -> str:
        return f"fetch {self.release.url} again, or unpack the archive that you trust and give the folder"

    def _source(self) -> str:
        return f"`bench fetch {self._subject}` gets them, or by hand {self.release.url} as {self._wanted}"


def check_folders(folders: Iterable[str], expected: Mapping[str, str], place: str, title: str) -> None:
    """Compare the class folders that are here with those that belong here.

    Args:
        folders: names of the folders.
        expected: what messages call each class folder, by its name.
        place: the folder or archive that holds them.
        title: whose classes they are.

    Raises:
        UsageError: a folder is missing, or does not belong there: the first three of each, named.
    """
    here = set(folders)
    missing, strange = [shown for name, shown in expected.items() if name not in here], sorted(here - set(expected))
    if missing or strange:
        what = [f"missing: {listed(missing)}"] * bool(missing) + [f"not expected: {listed(strange)}"] * bool(strange)
        raise UsageError(f"the class folders in '{place}' are not {title}'s ten; {'; '.join(what)}")
