"""Archives: nothing is unpacked that could get out, nothing is half there, nothing is hashed twice."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.errors import BenchError, UsageError
from benchbench_plugins.datasets import _archives, _cache
from benchbench_plugins.datasets._archives import extract, unpacked
from benchbench_plugins.datasets._cache import digest_of

#: Bytes that an archive may unpack to.
LIMIT = 2**30


def tar(path, *members, content=b"12345"):
    """Write a tar.gz of members: names, or TarInfo."""
    with tarfile.open(path, "w:gz") as out:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            if info.isreg():
                info.size = info.size or len(content)
            out.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(path, *members):
    with zipfile.ZipFile(path, "w") as out:
        for member in members:
            out.writestr(member, b"12345")
    return path


def zip_member(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def said(call, *arguments, **options):
    with pytest.raises(UsageError) as raised:
        call(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


ESCAPES = {
    "absolute": ("/etc/evil", "has an absolute name"),
    "up": ("a/../../evil", "would be unpacked outside of the folder"),
    "backslash": ("a\\..\\..\\evil", "would be unpacked outside of the folder"),
    "drive": ("C:/evil", "has an absolute name"),
    "symlink": (special("way", tarfile.SYMTYPE, "/etc"), "is a link to '/etc'"),
    "inner link": (special("way", tarfile.SYMTYPE, "good"), "is a link to 'good'"),
    "hardlink": (special("way", tarfile.LNKTYPE, "../../x"), "is a link to '../../x'"),
    "device": (special("null", tarfile.CHRTYPE), "is a device or another special file"),
    "pipe": (special("pipe", tarfile.FIFOTYPE), "is a device or another special file"),
}


@pytest.mark.parametrize("case", ESCAPES)
def test_a_tar_member_that_gets_out_is_named_and_nothing_is_written(tmp_path, case):
    member, why = ESCAPES[case]
    path = tar(tmp_path / "x.tar.gz", "good", member)
    name = member if isinstance(member, str) else member.name
    (tmp_path / "out").mkdir()
    told = said(extract, path, tmp_path / "out", LIMIT)
    assert told == f"{path}: member {name!r} {why}; nothing was unpacked; fetch the archive again"
    assert not list((tmp_path / "out").iterdir())


PIECES = st.sampled_from(["a", "b c", "..", ".", "", "/", "\\", "C:", "~", "é", "..."])


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=4), st.sampled_from(["/", "\\", ""]), st.booleans())
def test_whatever_a_member_is_called_it_stays_below_the_folder_or_is_refused(pieces, joint, as_zip):
    with tempfile.TemporaryDirectory() as room:
        base = Path(room)
        (base / "x" / "y" / "out").mkdir(parents=True)
        make = zipped if as_zip else tar
        path = make(base / "archive", zipfile.ZipInfo(joint.join(pieces)) if as_zip else joint.join(pieces))
        with contextlib.suppress(UsageError, OSError):
            extract(path, base / "x" / "y" / "out", LIMIT)
        outside = [item for item in base.rglob("*") if not item.is_relative_to(base / "x" / "y" / "out")]
        assert sorted(outside) == [path, base / "x", base / "x" / "y"]


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ("/etc/evil", "has an absolute name"),
        ("../evil", "would be unpacked outside of the folder"),
        (zip_member("way", stat.S_IFLNK | 0o777), "is a link"),
        (zip_member("pipe", stat.S_IFIFO | 0o777), "is a device or another special file"),
    ],
)
def test_a_zip_member_that_gets_out_is_named_and_nothing_is_written(tmp_path, member, why):
    path = zipped(tmp_path / "x.zip", "good", member)
    (tmp_path / "out").mkdir()
    assert why in said(extract, path, tmp_path / "out", LIMIT)
    assert not list((tmp_path / "out").iterdir())


def test_bombs_are_refused_by_their_headers(tmp_path):
    big = tarfile.TarInfo("zeros")
    big.size = 2**20
    small = tarfile.TarInfo("good")
    small.size = 5
    path = tar(tmp_path / "x.tar.gz", small, big, content=bytes(2**20))
    assert path.stat().st_size < 2**20 / 10
    told = said(extract, path, tmp_path, limit=2**19)
    assert "member 'zeros' makes it unpack to more than 0.000488 GiB; nothing was unpacked" in told
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("zeros", bytes(2**20))
    assert "makes it unpack to more than" in said(extract, tmp_path / "x.zip", tmp_path, limit=2**19)


def test_damaged_archives(tmp_path):
    whole = tar(tmp_path / "x.tar.gz", "a", content=os.urandom(50_000)).read_bytes()
    damaged = {
        "cut": whole[:-9000],
        "empty": b"",
        "text": b"<html>404 Not Found</html>",
        "no tar": gzip.compress(b"hello" * 400),
        "cut zip": zipped(tmp_path / "x.zip", "a").read_bytes()[:-30],
    }
    for name, content in damaged.items():
        path = tmp_path / "damaged"
        path.write_bytes(content)
        (tmp_path / f"out {name}").mkdir()
        told = said(extract, path, tmp_path / f"out {name}", LIMIT)
        assert told == f"{path}: is not an archive, or damaged; fetch it again", name


def test_good_archives_of_every_sort(tmp_path):
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "1").write_bytes(b"one")
    (tmp_path / "src" / "2").write_bytes(b"two")
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        with tarfile.open(tmp_path / "x", mode) as out:
            out.add(tmp_path / "src", "src")
        folder = tmp_path / f"out{mode[2:]}"
        folder.mkdir()
        extract(tmp_path / "x", folder, LIMIT, only=lambda name: name.endswith("1"))
        assert (folder / "src" / "a" / "1").read_bytes() == b"one"
        assert not (folder / "src" / "2").exists()
    zipped(tmp_path / "x.zip", "src/a/1", "src/2")
    extract(tmp_path / "x.zip", tmp_path, LIMIT, only=lambda name: name == "src/2")
    assert (tmp_path / "src" / "2").read_bytes() == b"12345"


def test_a_file_that_is_not_there_has_no_checksum(tmp_path):
    assert said(_cache.digest_of, tmp_path / "no") == f"{tmp_path / 'no'}: cannot be read: No such file or directory"


def age(path, seconds=60):
    """Let a file have been left alone: mtime can be set, ctime cannot."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_checksum_is_computed_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(_cache, "is_settled", lambda mark, read_ns: True)
    calls = []
    compute = _cache._md5
    monkeypatch.setattr(_cache, "_md5", lambda path: calls.append(1) or compute(path))
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    for _ in range(3):
        assert _cache.digest_of(path) == hashlib.md5(b"abc").hexdigest()
    assert len(calls) == 1
    path.write_bytes(b"abd")
    age(path)
    assert _cache.digest_of(path) == hashlib.md5(b"abd").hexdigest()
    assert len(calls) == 2


def test_a_fresh_file_is_not_remembered(tmp_path, cache):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    _cache.digest_of(path)
    assert not list(cache.rglob("*.json"))


def test_a_memory_that_is_damaged_or_cannot_be_written_costs_time_only(cache):
    assert _cache.recalled("t", [1], lambda: "first", str.isalpha) == "first"
    assert _cache.recalled("t", [1], lambda: "second", str.isalpha) == "first"
    (file,) = cache.rglob("*.json")
    for content in (b"", b"[]", b"{", b'{"question": [2], "answer": "other"}', b'{"question": [1], "answer": 7}'):
        file.write_bytes(content)
        assert _cache.recalled("t", [1], lambda: "again", str.isalpha) == "again"
    (cache / "u").write_bytes(b"a file in the way")
    assert _cache.recalled("u", [1], lambda: "found", str.isalpha) == "found"


def test_unpacking_happens_once_and_in_one_step(tmp_path, cache, monkeypatch):
    path = tar(tmp_path / "x.tar.gz", "a/1", "a/2")
    digest = digest_of(path)
    target = cache / "unpacked" / digest
    (cache / "unpacked" / f".tmp-{digest}" / "left-by-a-kill").mkdir(parents=True)
    real = _archives.extract

    def dies(path, folder, *rest):
        real(path, folder, *rest)
        assert not target.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(_archives, "extract", dies)
    with pytest.raises(KeyboardInterrupt):
        unpacked(path, digest, LIMIT)
    assert not target.exists()
    monkeypatch.setattr(_archives, "extract", real)
    assert unpacked(path, digest, LIMIT) == target
    assert sorted(item.name for item in (target / "a").iterdir()) == ["1", "2"]
    monkeypatch.setattr(_archives, "extract", None)
    assert unpacked(path, digest, LIMIT) == target
    assert [item.name for item in target.parent.iterdir()] == [digest]


@pytest.mark.parametrize("put_back", [True, False])
def test_an_archive_that_is_swapped_after_it_was_verified_is_not_unpacked(tmp_path, cache, monkeypatch, put_back):
    path, other = tar(tmp_path / "x.tar.gz", "a/1"), tar(tmp_path / "y.tar.gz", "a/1", content=b"67890")
    digest, kept, real = digest_of(path), tmp_path / "kept", _archives.extract

    def swapped(path, folder, *rest):
        path.rename(kept)
        shutil.copyfile(other, path)
        real(path, folder, *rest)
        if put_back:
            kept.rename(path)

    monkeypatch.setattr(_archives, "extract", swapped)
    assert said(unpacked, path, digest, LIMIT).startswith("its files changed while they were read; run again")
    assert list((cache / "unpacked").iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, cache, monkeypatch):
    def full(path, folder, *rest):
        (folder / "part").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    path = tar(tmp_path / "x.tar.gz", "a/1")
    monkeypatch.setattr(_archives, "extract", full)
    with pytest.raises(BenchError, match=r"cannot unpack x\.tar\.gz into .*: No space left on device"):
        unpacked(path, digest_of(path), LIMIT)
    assert not list((cache / "unpacked").iterdir())
