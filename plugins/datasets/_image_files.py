"""What the published datasets of image files share: the folder of images is preferred to the archive.

Nothing here imports an array or a library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchbench.errors import MissingError, UsageError
from benchbench.plugins import Context, ImageSet

from ._listing import Listing, listed
from ._published import Published


@dataclass(frozen=True)
class PublishedImages(Published):
    """A published dataset of image files; subclasses say where the folder is and which images it holds."""

    def external(self) -> tuple[Path, ...]:
        """Return the images or the archive; where neither is, where to look."""
        return (self._here() or self._base,)

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, R, R, 3)``; ``source`` of an origin is the path below the folder of images.

        Raises:
            MissingError: no images are there.
            UsageError: as :meth:`info`, for what has changed since; a file that cannot be used as an image, named.
        """
        from ._archives import unpacked
        from ._scan import load_items

        release, archive = self.release, self._archive()
        images, content = self._images(), None
        if images is None:
            if archive is None:
                raise MissingError(
                    f"{self._subject}: {release.title} are not here; looked for {self._looked_for()} and "
                    f"{self._wanted}; {self._source()}"
                )
            self._verify(archive)
            images = unpacked(archive, release.md5, self._subject, release.limit) / release.folder
            content = release.md5
        return load_items(self._listing(images), split, release.info.resolution, context, self._subject, content)

    def _images(self) -> Path | None:
        """Return the folder of images that names are relative to, or ``None``."""
        raise NotImplementedError

    def _listing(self, root: Path) -> Listing:
        """Return which images of a folder belong to which class and part."""
        raise NotImplementedError

    def _looked_for(self) -> str:
        """Return the folders that were looked for, in words."""
        raise NotImplementedError

    def _here(self) -> Path | None:
        return self._images() or self._archive()

    def _is_unpacked(self) -> bool:
        return self._images() is not None

    @property
    def _place(self) -> Path:
        return self._base / self.release.folder

    @property
    def _remedy(self) -> str:
        return f"fetch {self.release.url} again, or unpack the archive that you trust and give the folder"

    def _source(self) -> str:
        return f"`bench fetch {self._subject}` gets them, or by hand {self.release.url} as {self._wanted}"


def check_folders(folders: Iterable[str], expected: Mapping[str, str], place: str, title: str, subject: str) -> None:
    """Compare the class folders that are here with those that belong here.

    Args:
        folders: names of the folders.
        expected: what messages call each class folder, by its name.
        place: the folder or archive that holds them.
        title: whose classes they are.
        subject: the start of the message.

    Raises:
        UsageError: a folder is missing, or does not belong there: the first three of each, named.
    """
    here = set(folders)
    missing, strange = [shown for name, shown in expected.items() if name not in here], sorted(here - set(expected))
    if missing or strange:
        what = [f"missing: {listed(missing)}"] * bool(missing) + [f"not expected: {listed(strange)}"] * bool(strange)
        raise UsageError(f"{subject}: the class folders in '{place}' are not {title}'s ten; {'; '.join(what)}")
