"""Handing files to the libraries' own readers: from an archive or a folder, with what is wrong said in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchbench.errors import BenchError, UsageError

from ._archives import extract, verify
from ._images import listed
from ._memo import digest_of
from ._published import Found, Release


def file_digests(found: Found, subject: str) -> list[list[str]]:
    """Return name and MD5 of each file that is read: what decides the pixels."""
    return [[file.name, digest_of(file, "md5", subject)] for file in found.files]


def in_folder(found: Found, release: Release, checksum: str, scratch: Path, subject: str, remedy: str) -> Path:
    """Return the folder with the release's files: the unpacked one, or the verified archive's, unpacked to scratch.

    Raises:
        UsageError: a wrong checksum, a member that must not be there, a file that the archive lacks.
    """
    if found.folder is not None:
        return found.folder
    (archive,) = found.files
    verify(archive, checksum, subject, remedy)
    wanted = {f"{release.folder}/{name}" for name in (*release.files, *release.optional)}
    extract(archive, scratch / "unpacked", subject, only=lambda name: name.removeprefix("./") in wanted)
    folder = scratch / "unpacked" / release.folder
    if lacking := [name for name in release.files if not (folder / name).is_file()]:
        raise UsageError(f"{subject}: {archive}: the archive has no {listed(lacking)} in {release.folder}; {remedy}")
    return folder


def differences(found: Found, published: Mapping[str, str], subject: str) -> list[str]:
    """Return a note about the files of an unpacked folder that are not the published ones, byte for byte.

    Args:
        found: the files; an archive was verified as a whole, so that there is nothing to say about one.
        published: MD5 of each file by its name.
        subject: the start of every message.
    """
    if found.folder is None:
        return []
    other = [name for name, md5 in file_digests(found, subject) if md5 != published.get(name, md5)]
    return [f"not the published files, by their MD5: {', '.join(other)}"] if other else []


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
