"""Where data and caches are looked for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from benchbench.errors import BenchError, UsageError
from benchbench.files import atomic_file, cache_root, data_root, is_whole, one_step_folder, write_atomic


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ("BENCH_CACHE", "BENCH_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")


def test_defaults_lie_below_the_home_folder():
    assert cache_root() == Path("/home/ada/.cache/benchbench")
    assert data_root() == Path("/home/ada/.cache/benchbench/data")


@pytest.mark.parametrize(
    ("variables", "cache", "data"),
    [
        ({"BENCH_CACHE": "/c"}, "/c", "/c/data"),
        ({"BENCH_CACHE": "~/c", "BENCH_DATA": "~/d"}, "/home/ada/c", "/home/ada/d"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/benchbench", "/x/benchbench/data"),
        ({"XDG_CACHE_HOME": "/x", "BENCH_CACHE": "/c"}, "/c", "/c/data"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/benchbench", "/home/ada/.cache/benchbench/data"),
        (
            {"BENCH_CACHE": "", "BENCH_DATA": ""},
            "/home/ada/.cache/benchbench",
            "/home/ada/.cache/benchbench/data",
        ),
    ],
)
def test_variables_move_them(monkeypatch, variables, cache, data):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(cache)
    assert data_root() == Path(data)


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """What stands for the home of a user without one."""
    monkeypatch.setattr(Path, "expanduser", lambda self: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"benchbench-{os.getuid()}"


def test_no_home_folder_is_no_failure(monkeypatch, homeless):
    previous = os.umask(0)
    try:
        for _ in range(2):
            assert cache_root() == homeless / ".cache" / "benchbench"
            assert data_root() == homeless / ".cache" / "benchbench" / "data"
    finally:
        os.umask(previous)
    assert homeless.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("BENCH_DATA", "~/d")
    assert data_root() == homeless / "d"


@pytest.mark.parametrize(("variable", "root"), [("BENCH_CACHE", cache_root), ("BENCH_DATA", data_root)])
def test_the_home_of_another_unknown_user_is_not_ones_own(monkeypatch, homeless, variable, root):
    monkeypatch.setenv(variable, "~nobody-of-that-name/d")
    expected = (
        f"{variable}=~nobody-of-that-name/d: there is no home folder ~nobody-of-that-name; give a folder by its path"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        root()
    assert not homeless.exists()


def _linked(folder):
    folder.with_name("elsewhere").mkdir()
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: (folder.mkdir(), folder.chmod(0o770)),
        lambda folder: (folder.mkdir(), folder.chmod(0o702)),
        _linked,
        lambda folder: folder.symlink_to("nowhere"),
        lambda folder: folder.write_text(""),
    ],
    ids=["group", "others", "link", "nowhere", "file"],
)
def test_a_folder_that_others_may_write_to_is_no_home(homeless, make):
    make(homeless)
    expected = (
        f"{homeless}: is not a folder that this user alone may write to; this user has no home folder; "
        "set BENCH_CACHE to a folder of their own"
    )
    with pytest.raises(UsageError, match=f"^{re.escape(expected)}$"):
        cache_root()


def test_the_folder_of_another_user_is_no_home(homeless, monkeypatch):
    another = os.getuid() + 1
    homeless.with_name(f"benchbench-{another}").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: another)
    with pytest.raises(UsageError, match="alone may write to; this user has no home folder; set BENCH_CACHE"):
        cache_root()


def test_no_home_and_no_temporary_folder_is_one_line(homeless, monkeypatch):
    (homeless.parent / "file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(homeless.parent / "file"))
    with pytest.raises(
        UsageError, match=r"cannot be used \(Not a directory\); this user has no home folder; set BENCH"
    ):
        cache_root()


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomic(path, "old")
    with pytest.raises(TypeError), atomic_file(path) as stream:
        stream.write("no bytes")
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    write_atomic(path, b"\xff", durable=False)
    assert path.read_bytes() == b"\xff"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        BenchError, match=r"file/below: cannot be written \([^\n]+\); free or choose another --results$"
    ):
        write_atomic(tmp_path / "file" / "below", "x")


def test_a_folder_is_the_old_one_or_the_new_one(tmp_path):
    final = tmp_path / "deep" / "folder"
    for content in ("one", "two"):
        with one_step_folder(final) as draft:
            (draft / "file").write_text(content)
            assert not final.exists() or (final / "file").read_text() == "one"
        assert (final / "file").read_text() == content
    with pytest.raises(KeyError), one_step_folder(final) as draft:
        raise KeyError
    assert (final / "file").read_text() == "two"
    assert sorted(item.name for item in final.parent.iterdir()) == [".folder.sums", "folder"]


@pytest.mark.parametrize("files", [3, 100])
def test_a_folder_that_is_not_as_it_was_written_is_not_whole(tmp_path, files):
    final = tmp_path / "folder"
    assert not is_whole(final)
    with one_step_folder(final) as draft:
        (draft / "deep").mkdir()
        for number in range(files):
            (draft / "deep" / f"{number}.npy").write_bytes(b"content")
    (final / ".DS_Store").write_text("left by the system")
    assert is_whole(final)
    damaged = final / "deep" / "1.npy"
    for content in (b"", b"zeroed\0", b"content, longer"):
        damaged.write_bytes(content)
        assert not is_whole(final)
    damaged.write_bytes(b"content")
    assert is_whole(final)
    damaged.unlink()
    assert not is_whole(final)


def test_an_empty_folder_is_whole_while_it_is_there(tmp_path):
    with one_step_folder(tmp_path / "folder"):
        pass
    assert is_whole(tmp_path / "folder")
    (tmp_path / "folder").rmdir()  # as a kill between its sums and its name leaves it
    assert not is_whole(tmp_path / "folder")


def test_a_folder_may_go_without_its_sums(tmp_path):
    with one_step_folder(tmp_path / "folder", sealed=False) as draft:
        (draft / "file").write_text("x")
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]
    assert not is_whole(tmp_path / "folder")
