"""Base classes of the published datasets that come as arrays: the files that are read, and their checks.

Without files a dataset answers from the published facts; with files, from what was decoded, and what differs from the
published counts is in the notes. Nothing here imports an array or a library before a method needs it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchbench.errors import BenchError, MissingError, UsageError
from benchbench.plugins import Context, DatasetInfo, ImageSet

from ._listing import listed
from ._published import Published, Release

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ._cache import Decoded, Part, Source

PARTS = ("train", "validation", "test")
#: Images that are converted at a time.
BLOCK = 1000


@dataclass(frozen=True)
class LocalFiles:
    """What of a release lies on this machine.

    Attributes:
        files: what is read: the archive, or the files of the unpacked folder, in the order of the release.
        folder: the unpacked folder; ``None`` for an archive.
    """

    files: tuple[Path, ...]
    folder: Path | None


@dataclass(frozen=True)
class PublishedArrays(Published):
    """A published dataset whose files hold arrays; subclasses give ``release``, ``_read`` and ``_checksum``."""

    def input_paths(self) -> tuple[Path, ...]:
        """Return the files that are read."""
        local = self._local_files()
        return local.files if local else ()

    def info(self) -> DatasetInfo:
        """Return the published facts, or with files the facts of what they hold; decodes them the first time.

        Raises:
            UsageError: the files are there and wrong: a checksum, a missing or damaged file, shapes or labels.
        """
        published, local = self.release.info, self._local_files()
        if local is None:
            return published
        facts = self._decoded(local).facts
        notes = (*published.notes, *facts["notes"])
        return replace(published, counts=facts["counts"], class_counts=tuple(facts["class_counts"]), notes=notes)

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, R, R, 3)``, memory-mapped; ``source`` of an origin is the published index.

        Raises:
            MissingError: the files are not there.
            UsageError: as :meth:`info`; or there is no such split.
        """
        local = self._local_files()
        if local is None:
            raise MissingError(
                f"{self._subject}: not found: {self.release.title}; looked for {self._wanted}; {self._source()}"
            )
        parts = self._decoded(local).parts
        if split not in parts:
            raise UsageError(f"{self._subject}: no split '{split}'; it has {', '.join(PARTS)}")
        images, labels = parts[split].images, parts[split].labels
        return ImageSet(images, labels, self.release.info.classes, [{"source": index} for index in range(len(labels))])

    def _read(self, local: LocalFiles, scratch: Path) -> dict[str, Source]:
        """Return the three parts in the published order; ``scratch`` is an empty folder that is gone afterwards.

        Raises:
            UsageError: files that are not what was published, and that cannot be read or must not be.
        """
        raise NotImplementedError

    def _file_checksums(self) -> Mapping[str, str]:
        """Return the published MD5 of each file of the unpacked folder that has one, by its name."""
        return {}

    def _decoded(self, local: LocalFiles) -> Decoded:
        """Return what the files hold, from the cache when they were decoded before."""
        from ._cache import decoded, digest_of

        if lacking := [file.name for file in local.files if not os.path.isfile(file)]:
            raise UsageError(
                f"{self._subject}: {local.folder}: missing {', '.join(lacking)}; {self.release.title} consists of "
                f"{', '.join(self.release.files)}; {self._source()}"
            )
        digests = {file.name: digest_of(file, self._subject) for file in local.files}

        def check(parts: Mapping[str, Part]) -> dict[str, Any]:
            # An archive was verified as a whole, so that there is nothing to say about it.
            known = self._file_checksums() if local.folder else {}
            other = [name for name, md5 in digests.items() if md5 != known.get(name, md5)]
            notes = [f"not the published files, by their MD5: {', '.join(other)}"] if other else []
            return checked(parts, self.release, notes, self._subject)

        question = [self.release.info.name, self.release.version, list(digests.items())]
        return decoded(question, lambda scratch: self._read(local, scratch), check)

    def _folder(self, local: LocalFiles, scratch: Path) -> Path:
        """Return the folder with the files: the unpacked one, or the verified archive's, unpacked to ``scratch``.

        Raises:
            UsageError: a wrong checksum, a member that must not be there, a file that the archive lacks.
        """
        from ._archives import extract

        if local.folder is not None:
            return local.folder
        (archive,), release = local.files, self.release
        self._verify(archive)
        wanted = {f"{release.folder}/{name}" for name in (*release.files, *release.optional)}
        unpacked = scratch / "unpacked"
        extract(archive, unpacked, self._subject, release.limit, lambda name: name.removeprefix("./") in wanted)
        folder = unpacked / release.folder
        if lacking := [name for name in release.files if not (folder / name).is_file()]:
            raise UsageError(
                f"{self._subject}: {archive}: the archive has no {listed(lacking)} in {release.folder}; {self._remedy}"
            )
        return folder

    def _local_files(self) -> LocalFiles | None:
        """Return a complete unpacked folder, else the archive, else an incomplete folder, else ``None``."""
        base, release = self._base, self.release
        if os.path.isfile(base):
            return LocalFiles((base,), None)
        folders = (base / release.folder, base) if release.folder else ()
        held = {folder: [os.path.isfile(folder / name) for name in release.files] for folder in folders}
        for folder, there in held.items():
            if all(there):
                return self._in(folder)
        if archive := self._archive():
            return LocalFiles((archive,), None)
        return next((self._in(folder) for folder, there in held.items() if any(there)), None)

    def _in(self, folder: Path) -> LocalFiles:
        more = (name for name in self.release.optional if os.path.isfile(folder / name))
        return LocalFiles(tuple(folder / name for name in (*self.release.files, *more)), folder)

    def _here(self) -> Path | None:
        local = self._local_files()
        return (local.folder or local.files[0]) if local else None

    def _is_unpacked(self) -> bool:
        local = self._local_files()
        return bool(local and local.folder and all(os.path.isfile(file) for file in local.files))

    @property
    def _remedy(self) -> str:
        return f"remove it and run `bench fetch {self._subject}`, or fetch {self.release.url} by hand"

    def _source(self) -> str:
        return f"`bench fetch {self._subject}` gets it, or by hand {self.release.url}"


@dataclass(frozen=True)
class TorchvisionArrays(PublishedArrays):
    """A published dataset that a class of ``torchvision.datasets`` reads, called like the dataset in capitals."""

    @property
    def _library(self) -> Any:
        from torchvision import datasets

        return getattr(datasets, self.release.info.name.upper())

    def _checksum(self) -> str:
        return str(self._library.tgz_md5)

    def _file_checksums(self) -> Mapping[str, str]:
        return dict([*self._library.train_list, *self._library.test_list])


@contextlib.contextmanager
def reading(library: str, what: str, subject: str) -> Iterator[None]:
    """Turn what a library raises about files that it cannot read into one line."""
    try:
        yield
    except (BenchError, OSError, MemoryError):
        raise
    except Exception as error:  # a reader of binary files raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{subject}: {library} cannot read {what} ({reason}); fetch it again") from None


def blocks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield consecutive pieces of at most 1,000 images."""
    for start in range(0, len(images), BLOCK):
        yield images[start : start + BLOCK]


def no_images(side: int) -> Source:
    """Return a part without images of ``side`` px."""
    import numpy as np

    from ._cache import Source

    return Source(np.empty(0, np.int64), side, ())


def check_labels(labels: NDArray[Any], name: str, release: Release, subject: str) -> None:
    """Check the labels of one part; before they are converted to int64, as larger ones would wrap around.

    Args:
        labels: ``(N,)`` whole numbers of any type, counted from 0; the message shows what the file holds.
        name: the part.
        release: its classes, and from which number its files count.
        subject: the start of every message.

    Raises:
        UsageError: a label that is not in ``0..classes - 1``: how many, the first, and its image.
    """
    import numpy as np

    classes, first = len(release.info.classes), release.first_label
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        how = f"{classes} classes have the labels 0 to {classes - 1}"
        if first:
            how = f"{release.title} counts from {first} to {first + classes - 1}"
        many = f"1 {name} label is" if len(wrong) == 1 else f"{len(wrong):,} {name} labels are"
        raise UsageError(
            f"{subject}: {many} out of range, the first is label {int(labels[wrong[0]]) + first} of image "
            f"{wrong[0]}; {how}; fetch it again"
        )


def checked(parts: Mapping[str, Part], release: Release, notes: Sequence[str], subject: str) -> dict[str, Any]:
    """Check the parts of a dataset and compare them with what is published.

    Args:
        parts: ``train``, ``validation`` and ``test``.
        release: the published facts.
        notes: what is known already, first among the notes.
        subject: the start of every message.

    Returns:
        JSON facts: ``counts`` by part, ``class_counts`` of train, ``notes``.

    Raises:
        UsageError: an empty train or test part, labels out of range, a class without train or test images.
    """
    import numpy as np

    info, held = release.info, {}
    for name in PARTS:
        labels = parts[name].labels
        check_labels(labels, name, release, subject)
        held[name] = np.bincount(labels, minlength=len(info.classes))
        if name == "validation":
            continue
        if not len(labels):
            raise UsageError(f"{subject}: the {name} part is empty; fetch it again")
        if lacking := [info.classes[label] for label in np.flatnonzero(held[name] == 0)]:
            raise UsageError(f"{subject}: no {name} images of {listed(lacking)}; every class needs at least one")
    counts = {name: len(parts[name].labels) for name in PARTS}
    per_class = held["train"].tolist()
    remarks = [*notes]
    if other := [
        f"{name} {counts[name]:,} of {info.counts[name]:,}" for name in PARTS if counts[name] != info.counts[name]
    ]:
        remarks.append(f"images here of those published: {', '.join(other)}")
    elif tuple(per_class) != tuple(info.class_counts):
        remarks.append("the training images of each class are not as many as published")
    return {"counts": counts, "class_counts": per_class, "notes": remarks}
