"""Base classes of the published datasets that come as arrays: the files that are read, and their checks.

Without files a dataset answers from the published facts; with files, from what was decoded, and what differs from the
published counts is in the notes. Nothing here imports an array or a library before a method needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchbench.errors import MissingError, UsageError
from benchbench.plugins import Context, DatasetInfo, ImageSet
from benchbench.plugins.origins import Origins

from ._listing import listed, subject_first
from ._published import Published

if TYPE_CHECKING:
    from ._cache import Part, Source

#: Changes whenever the pixels or the labels made of the same files do.
VERSION = 2


@dataclass(frozen=True)
class PublishedArrays(Published):
    """A published dataset whose files hold arrays; subclasses give ``release`` and ``_read``."""

    def input_paths(self) -> tuple[Path, ...]:
        """Return the files that are read: the archive, or those of the unpacked folder in the order of the release."""
        here = self._here()
        if here is None or not here.is_dir():
            return () if here is None else (here,)
        optional = (name for name in self.release.optional if os.path.isfile(here / name))
        return tuple(here / name for name in (*self.release.files, *optional))

    @subject_first
    def info(self) -> DatasetInfo:
        """Return the published facts, or with files the facts of what they hold; decodes them the first time.

        Raises:
            UsageError: the files are there and wrong: a checksum, a missing or damaged file, shapes or labels.
        """
        published, here = self.release.info, self._here()
        if here is None:
            return published

        import numpy as np

        parts = self._decoded(here)
        counts = {name: len(parts[name].labels) for name in published.counts}
        per_class = tuple(np.bincount(parts["train"].labels, minlength=len(published.classes)).tolist())
        notes = list(published.notes)
        known = self.release.files
        if other := [name for name, md5 in self._digests().items() if md5 != known.get(name, md5)]:
            notes.append(f"not the published files, by their MD5: {', '.join(other)}")
        if other := [f"{name} {counts[name]:,} of {n:,}" for name, n in published.counts.items() if counts[name] != n]:
            notes.append(f"images here of those published: {', '.join(other)}")
        elif per_class != published.class_counts:
            notes.append("the training images of each class are not as many as published")
        return replace(published, counts=counts, class_counts=per_class, notes=tuple(notes))

    @subject_first
    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, R, R, 3)``, memory-mapped; ``source`` of an origin is the published index.

        Raises:
            MissingError: the files are not there.
            UsageError: as :meth:`info`.
        """
        here = self._here()
        if here is None:
            raise MissingError(f"not found: {self.release.title}; looked for {self._wanted}; {self._source()}")
        part = self._decoded(here, checked=True)[split]
        origins = Origins.of({"source": range(len(part.labels))})
        return ImageSet(part.images, part.labels, self.release.info.classes, origins)

    def _read(self, place: Path) -> dict[str, Source]:
        """Return train, test and, where there is one, validation, in the published order.

        Args:
            place: the unpacked folder, all files of which are there; or a verified archive that is read as it is.

        Raises:
            UsageError: files that are not what was published, and that cannot be read or must not be.
        """
        raise NotImplementedError

    def _digests(self) -> dict[str, str]:
        """Return the MD5 of each file that is read, by its name."""
        from ._cache import digest_of

        return {file.name: digest_of(file) for file in self.input_paths()}

    def _decoded(self, here: Path, *, checked: bool = False) -> dict[str, Part]:
        """Return what the files hold, from the cache when they were decoded before."""
        import numpy as np

        from ._cache import Source, decoded, unchanged

        if lacking := [file.name for file in self.input_paths() if not os.path.isfile(file)]:
            raise UsageError(
                f"{here}: missing {', '.join(lacking)}; {self.release.title} consists of "
                f"{', '.join(self.release.files)}; {self._source()}"
            )

        def read(scratch: Path) -> dict[str, Source]:
            place = here
            if not here.is_dir():
                self._verify(here)
                place = self._extracted(here, scratch) if self.release.folder else here
            nothing = Source(np.empty(0, np.int64), self.release.info.resolution, ())
            parts = {"validation": nothing, **self._read(place)}
            for name in ("train", "test"):
                labels = parts[name].labels
                if not len(labels):
                    raise UsageError(f"the {name} part is empty; fetch it again")
                if lacking := [item for label, item in enumerate(self.release.info.classes) if label not in labels]:
                    raise UsageError(f"no {name} images of {listed(lacking)}; every class needs at least one")
            return parts

        digests = self._digests()
        question = [self.release.info.name, VERSION, list(digests.items())]
        files = self.input_paths()
        return decoded(question, read, checked=checked, watched=lambda: unchanged(files, self._digests, digests))

    def _extracted(self, archive: Path, scratch: Path) -> Path:
        """Unpack what is read of a verified archive to ``scratch``, and return the folder.

        Raises:
            UsageError: a member that must not be there, a file that the archive lacks.
        """
        from ._archives import extract

        release = self.release
        wanted = {f"{release.folder}/{name}" for name in (*release.files, *release.optional)}
        extract(archive, scratch, release.limit, lambda name: name.removeprefix("./") in wanted)
        folder = scratch / release.folder
        if lacking := [name for name in release.files if not (folder / name).is_file()]:
            raise UsageError(f"{archive}: the archive has no {listed(lacking)} in {release.folder}; {self._remedy}")
        return folder

    def _here(self) -> Path | None:
        """Return a complete unpacked folder, else the archive, else an incomplete folder, else ``None``."""
        return self._unpacked() or self._archive() or self._folder_with(any)

    def _unpacked(self) -> Path | None:
        return self._folder_with(all)

    def _folder_with(self, enough: Callable[[Iterable[bool]], bool]) -> Path | None:
        """Return the folder that holds all, or any, of the files."""
        release = self.release
        folders = (self._base / release.folder, self._base) if release.folder else ()
        return next((at for at in folders if enough(os.path.isfile(at / name) for name in release.files)), None)

    @property
    def _remedy(self) -> str:
        return f"move it away and run `bench fetch {self._subject}`, or fetch {self.release.url} by hand"

    def _source(self) -> str:
        return f"`bench fetch {self._subject}` gets it, or by hand {self.release.url}"


def problem_of_labels(labels: Sequence[int], first: int, last: int) -> str:
    """Return what is wrong with labels that do not go from ``first`` to ``last``, or ``""``."""
    wrong = [index for index, label in enumerate(labels) if not first <= label <= last]
    if not wrong:
        return ""
    label = labels[wrong[0]]
    shown = str(label) if label.bit_length() < 64 else f"a number of {label.bit_length():,} bits"
    many = "1 label is" if len(wrong) == 1 else f"{len(wrong):,} labels are"
    return f"{many} out of range, the first is {shown} of image {wrong[0]}; they go from {first} to {last}"
