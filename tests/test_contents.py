"""Hashes of folders and files that users bring."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchbench.errors import UsageError
from benchbench.keys import content as contents
from benchbench.keys.content import content_hash


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "images"
    for name, data in {"train/cat/1.png": b"cat", "train/dog/1.png": b"dog", "notes.txt": b"n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that are really read."""
    names: list[str] = []
    whole = contents.hash_file
    monkeypatch.setattr(contents, "hash_file", lambda path: names.append(path.name) or whole(path))
    return names


def test_a_file_hashes_like_sha256sum(tmp_path):
    (tmp_path / "weights").write_bytes(b"abc")
    assert content_hash(tmp_path / "weights") == hashlib.sha256(b"abc").hexdigest()


def test_where_a_folder_lies_does_not_matter(tree, tmp_path):
    before = content_hash(tree)
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    tree.rename(moved)
    assert content_hash(moved) == before
    copy = shutil.copytree(moved, tmp_path / ".hidden")
    assert content_hash(copy) == before


def test_every_change_inside_matters(tree):
    seen = {content_hash(tree)}
    (tree / "train/cat/1.png").write_bytes(b"CAT")
    seen.add(content_hash(tree))
    (tree / "train/cat/1.png").rename(tree / "train/cat/2.png")
    seen.add(content_hash(tree))
    (tree / "train/cat").rename(tree / "train/lion")
    seen.add(content_hash(tree))
    (tree / "train/lion/3.png").write_bytes(b"")
    seen.add(content_hash(tree))
    assert len(seen) == 5


def test_swapped_contents_and_shifted_boundaries_matter(tmp_path):
    hashes = set()
    for number, files in enumerate([{"a": b"1", "b": b"2"}, {"a": b"2", "b": b"1"}, {"ab": b"12"}, {"a": b"1"}]):
        root = tmp_path / str(number)
        root.mkdir()
        for name, data in files.items():
            (root / name).write_bytes(data)
        hashes.add(content_hash(root))
    assert len(hashes) == 4


def test_what_does_not_count(tree):
    before = content_hash(tree)
    (tree / ".DS_Store").write_bytes(b"x")
    (tree / ".git").mkdir()
    (tree / ".git" / "config").write_bytes(b"x")
    (tree / "train" / "__pycache__").mkdir()
    (tree / "train" / "__pycache__" / "m.pyc").write_bytes(b"x")
    (tree / "empty").mkdir()
    assert content_hash(tree) == before


def test_links_count_as_what_they_point_to(tree, tmp_path):
    before = content_hash(tree)
    blob = tmp_path / "blob"
    (tree / "notes.txt").rename(blob)
    (tree / "notes.txt").symlink_to(blob)
    assert content_hash(tree) == before
    (tree / "train" / "loop").symlink_to(tree)
    with pytest.raises(UsageError, match=r"loop: a link to a folder that contains it$"):
        content_hash(tree)


def test_what_is_not_there_is_named(tree, tmp_path):
    with pytest.raises(UsageError) as caught:
        content_hash(tmp_path / "nowhere")
    assert str(caught.value) == f"{tmp_path / 'nowhere'}: cannot be read: No such file or directory"
    (tree / "broken.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"broken.png: cannot be read: No such file or directory$"):
        content_hash(tree)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
@pytest.mark.parametrize("name", ["pipe", "."])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="pipe: is neither a file nor a folder"):
        content_hash(tmp_path / name)


def test_memory_spares_the_reading_and_sees_every_change(tree, tmp_path, hashed, monkeypatch):
    memory = tmp_path / "deep" / "memory.json"
    before = content_hash(tree, memory)
    assert not memory.exists(), "a file changed a moment ago may change again within the same tick of the clock"
    monkeypatch.setattr(contents, "is_settled", lambda mark, read_ns: True)
    assert content_hash(tree, memory) == before
    hashed.clear()
    assert content_hash(tree, memory) == before
    assert hashed == []
    status = (tree / "notes.txt").stat()
    time.sleep(0.02)  # a tick of the file system's clock
    (tree / "notes.txt").write_bytes(b"m")  # the same size
    os.utime(tree / "notes.txt", ns=(status.st_atime_ns, status.st_mtime_ns))  # and the same modification time
    changed = content_hash(tree, memory)
    assert changed != before
    assert changed == content_hash(tree)
    (tree / "notes.txt").rename(tree / "other.txt")
    assert content_hash(tree, memory) == content_hash(tree) != changed


def test_settled_files_are_those_older_than_two_seconds():
    now = 10_000_000_000_000
    assert contents.is_settled((1, now - 2_000_000_001, now - 2_000_000_001, 7), now)
    assert not contents.is_settled((1, now - 5_000_000_000, now - 1_000_000_000, 7), now)
    assert not contents.is_settled((1, now + 5_000_000_000, 0, 7), now)
    assert not contents.is_settled((1, 0, now + 5_000_000_000, 7), now)


def test_a_file_dated_in_the_future_is_remembered_too(tree, tmp_path, hashed, monkeypatch):
    for path in [*tree.rglob("*"), tree]:
        os.utime(path, (4_000_000_000, 4_000_000_000))
    later = time.time_ns() + 3_000_000_000  # the change times are those of a moment ago
    monkeypatch.setattr(contents.time, "time_ns", lambda: later)
    memory = tmp_path / "memory.json"
    before = content_hash(tree, memory)
    hashed.clear()
    assert content_hash(tree, memory) == before
    assert hashed == []


# What was there between two looks


def age(root: Path) -> None:
    """Give every file and folder times of an hour ago, so that a change shows whatever the clock's grain."""
    for path in [*root.rglob("*"), root, root.parent]:
        os.utime(path, (time.time() - 3600,) * 2)
    time.sleep(0.02)  # a tick of the file system's clock


def rename_away_and_back(path: Path) -> None:
    away = path.with_name("away")
    path.rename(away)
    away.rename(path)


def write_again(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"another content")
    path.write_bytes(content)


def replace_by_copy(root: Path) -> None:
    copy = shutil.copytree(root, root.parent / "copy", symlinks=True)
    shutil.rmtree(root)
    copy.rename(root)


def link_elsewhere_and_back(link: Path) -> None:
    there = os.readlink(link)
    link.unlink()
    link.symlink_to("/")
    link.unlink()
    link.symlink_to(there)


@pytest.mark.parametrize(
    ("touch", "swapped"),
    [
        (lambda root: None, False),
        (lambda root: (root / "notes.txt").chmod(0o600), False),
        (lambda root: (root / "train/cat").chmod(0o700), False),
        (lambda root: os.link(root / "train/cat/1.png", root.parent / "hard"), False),
        (lambda root: (root / "train/.DS_Store").write_bytes(b"x"), False),
        (lambda root: (root.parent / "another").write_bytes(b"x"), False),
        (lambda root: write_again(root / "train/cat/1.png"), True),
        (lambda root: os.utime(root / "notes.txt"), True),
        (lambda root: rename_away_and_back(root / "train/cat/1.png"), True),
        (lambda root: rename_away_and_back(root / "train/cat"), True),
        (lambda root: rename_away_and_back(root), True),
        (lambda root: link_elsewhere_and_back(root / "linked.txt"), True),
        (lambda root: link_elsewhere_and_back(root / "linked"), True),
        (lambda root: replace_by_copy(root), True),
    ],
)  # fmt: skip
def test_what_can_hide_another_content_is_told_from_what_cannot(tmp_path, touch, swapped):
    root = tmp_path / "outer" / "images"
    for name in ("train/cat/1.png", "train/dog/1.png", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far.txt").write_bytes(b"far")
    (root / "linked.txt").symlink_to(elsewhere / "far.txt")
    (root / "linked").symlink_to(elsewhere)
    age(root)
    before, content = contents.look(root), content_hash(root)
    assert contents.look(root) == before
    touch(root)
    assert content_hash(root) == content
    after = contents.look(root)
    assert contents.may_have_been_swapped(before, after) == swapped


def test_a_file_by_itself_is_looked_at_as_a_folder_is(tmp_path):
    file = tmp_path / "inner" / "weights"
    file.parent.mkdir()
    file.write_bytes(b"abc")
    age(file.parent)
    before = contents.look(file)
    file.chmod(0o600)
    assert contents.look(file) != before
    assert not contents.may_have_been_swapped(before, contents.look(file))
    rename_away_and_back(file)
    assert contents.may_have_been_swapped(before, contents.look(file))


def test_what_was_read_of_another_folder_in_its_place_is_not_remembered(tree, tmp_path, monkeypatch):
    """No signature of a file shows that the folder was away while it was read."""
    monkeypatch.setattr(contents, "is_settled", lambda mark, read_ns: True)
    other, memory, expected = shutil.copytree(tree, tmp_path / "other"), tmp_path / "memory.json", content_hash(tree)
    (other / "notes.txt").write_bytes(b"other")
    wrong = content_hash(other)

    def swapped(path):
        tree.rename(tmp_path / "right")
        other.rename(tree)
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        finally:
            tree.rename(other)
            (tmp_path / "right").rename(tree)

    with monkeypatch.context() as patched:
        patched.setattr(contents, "hash_file", swapped)
        assert content_hash(tree, memory) == wrong != expected
    assert content_hash(tree, memory) == expected


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"schema": 1, "known": [1]}', "\x00" * 100, "[" * 100_000])
def test_a_damaged_memory_is_begun_anew(tree, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(contents, "is_settled", lambda mark, read_ns: True)
    memory = tmp_path / "memory.json"
    memory.write_text(damage)
    expected = content_hash(tree)
    assert content_hash(tree, memory) == expected
    known = json.loads(memory.read_text())["known"]
    assert [entry[1] for entry in known.values()] == [expected]
    place = next(iter(known))
    memory.write_text(json.dumps({"schema": 1, "known": {place: ["x"]}}))
    assert content_hash(tree, memory) == expected


def test_a_memory_that_cannot_be_written_is_done_without(tree, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "is_settled", lambda mark, read_ns: True)
    (tmp_path / "file").write_text("")
    assert content_hash(tree, tmp_path / "file" / "memory.json") == content_hash(tree)
    (tmp_path / "folder").mkdir()
    assert content_hash(tree, tmp_path / "folder") == content_hash(tree)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder", "images"]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.text("ab.é", min_size=1, max_size=3).filter(lambda name: name.strip(".")), st.binary(max_size=3))
)
def test_the_hash_is_a_function_of_names_and_bytes(files):
    with tempfile.TemporaryDirectory() as folder:
        roots = [Path(folder) / "one", Path(folder) / "two"]
        for root, order in zip(roots, (1, -1), strict=True):
            root.mkdir()
            for name in sorted(files)[::order]:
                (root / name).write_bytes(files[name])
        first, second = (content_hash(root) for root in roots)
        assert first == second
        visible = [name for name in files if not name.startswith(".")]
        if visible:
            (roots[1] / visible[0]).write_bytes(files[visible[0]] + b"!")
            assert content_hash(roots[1]) != first
