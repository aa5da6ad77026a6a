"""Room on disks: how much there is, and an error that means there is none, in one line."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from pathlib import Path

#: The libraries that say no number of the system when they cannot write: NumPy's ``tofile``, then ``torch.save``.
_UNNUMBERED = re.compile(r"\d+ requested and \d+ written|unexpected pos \d+ vs \d+|basic_ios::clear: iostream error")
#: How Python, Arrow and Rust say the number.
_NUMBERED = re.compile(r"(?:errno|os error) (\d+)", re.IGNORECASE)

#: So few files that may still be made, and so many bytes, say that it was the files that ran out.
_FEW_FILES, _SOME_ROOM = 100, 2**20


def free_space(folder: Path) -> int | None:
    """Return the bytes that may be written below a folder, there or not; ``None`` where the system does not say."""
    with contextlib.suppress(OSError):
        usage = shutil.disk_usage(_there(folder))
        return usage.free if usage.total else None
    return None


def same_disk(one: Path, other: Path) -> bool:
    """Return whether two folders, there or not, lie on one file system."""
    return _there(one).stat().st_dev == _there(other).stat().st_dev


def _there(folder: Path) -> Path:
    """Return the folder, or of those above it the nearest that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if os.path.exists(place))  # also where it may not look


def size_text(size: float) -> str:
    """Write bytes for people, in the units that disks are sold by: ``512 B``, ``3.4 MB``, ``1.2 GB``."""
    for unit in ("B", "kB", "MB"):
        if size < 999.95:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def full_disk(error: BaseException, folder: Path | None, needed: int = 0) -> str | None:
    """Return the one line for an error that means that a file could not be written for want of room, else ``None``.

    Args:
        error: what was raised; its causes count.
        folder: where it was written to, ``None`` if nobody knows.
        needed: bytes that are still to be written there, 0 if nobody knows.
    """
    number = _number(error)
    if folder is None:
        return f"{os.strerror(number)}: make room where this command writes to" if number else None
    if number == errno.EFBIG:
        return f"file too large: the disk of {folder} or the limit `ulimit -f` allows no larger one"
    if number == errno.EDQUOT:
        return f"disk full: the quota of this user is used up in {folder}"
    if number != errno.ENOSPC:
        return None
    free = free_space(folder) or 0
    if needed > free:
        return f"disk full: {size_text(needed - free)} more needed in {folder}"
    with contextlib.suppress(OSError, AttributeError):  # Windows has no such call
        system = os.statvfs(folder)
        # What a failed step removed again gave some names back.
        if system.f_files and (not system.f_favail or (system.f_favail < _FEW_FILES and free > _SOME_ROOM)):
            return f"disk full: {folder} takes no more files"
    return f"disk full: {size_text(free)} free in {folder}"


def _number(error: BaseException | None) -> int | None:
    """Return the system's number for why a file cannot be written, of an error or of what caused it."""
    while error is not None:
        found = _NUMBERED.search(str(error))
        number = error.errno if isinstance(error, OSError) and error.errno else found and int(found[1])
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return number
        if _UNNUMBERED.search(str(error)):
            return errno.EFBIG if _limited() else errno.ENOSPC
        error = error.__cause__ or error.__context__
    return None


def _limited() -> bool:
    """Return whether the size of a file is limited for this process."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
