"""A disk that is full: one line whichever library met it, and what is finished is kept."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import subprocess
import sys
import traceback
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from limits import small_disk
from PIL import Image
from safetensors.torch import save_file
from toys import World

from benchbench.disk import free_space, full_disk, same_disk, size_text
from benchbench.errors import BenchError
from benchbench.files import atomic_file, write_atomic
from benchbench.running.work import run_step
from benchbench.store.store import tree_size

MB = 1_000_000
BIG = np.random.default_rng(0).integers(0, 255, 10 * MB, dtype=np.uint8)


def stream(folder: Path) -> None:
    with atomic_file(folder / "t.pt") as out:
        torch.save({"big": torch.from_numpy(BIG)}, out)


def zipped(folder: Path) -> None:
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        archive.writestr("big", BIG.tobytes())


def inside_another(folder: Path) -> None:
    try:
        np.save(folder / "a.npy", BIG)
    except OSError as error:
        raise ValueError("the features were not kept") from error


WRITERS = {
    "np.save": lambda folder: np.save(folder / "a.npy", BIG),
    "np.savez": lambda folder: np.savez(folder / "a.npz", big=BIG),
    "torch.save to a stream": stream,
    "torch.save to a file": lambda folder: torch.save({"big": torch.from_numpy(BIG)}, folder / "t.pt"),
    "safetensors": lambda folder: save_file({"big": torch.from_numpy(BIG)}, folder / "t.safetensors"),
    "parquet": lambda folder: pq.write_table(pa.table({"big": BIG}), folder / "t.parquet", compression="none"),
    "pillow": lambda folder: Image.fromarray(BIG[: 9 * MB].reshape(1000, 3000, 3)).save(folder / "p.png"),
    "zipfile": zipped,
    "bytes": lambda folder: (folder / "b").write_bytes(BIG.tobytes()),
    "as a cause": inside_another,
}


def caught(writer, folder: Path) -> BaseException:
    with pytest.raises(Exception) as raised:
        writer(folder)
    error: BaseException | None = raised.value
    while error is not None:  # a file that a frame holds open takes room although it is gone
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    for left in folder.iterdir():
        left.unlink()
    return raised.value


def test_a_full_disk_is_known_by_what_every_library_raises(tmp_path):
    with small_disk(tmp_path / "disk", 3 * 2**20) as disk:
        errors = {name: caught(writer, disk) for name, writer in WRITERS.items()}
        said = {full_disk(error, disk, 10 * MB) for error in errors.values()}
        assert said == {f"disk full: {size_text(10 * MB - 3 * 2**20)} more needed in {disk}"}
        assert full_disk(errors["np.save"], disk) == f"disk full: 3.1 MB free in {disk}"


@contextlib.contextmanager
def file_limit(size: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_is_too_large_is_not_taken_for_a_full_disk(tmp_path):
    with file_limit(MB):
        said = {full_disk(caught(writer, tmp_path), tmp_path, 10 * MB) for writer in WRITERS.values()}
    assert said == {f"file too large: the disk of {tmp_path} or the limit `ulimit -f` allows no larger one"}


def test_other_ends_of_room(tmp_path):
    quota = OSError(errno.EDQUOT, "any words")
    assert full_disk(quota, tmp_path) == f"disk full: the quota of this user is used up in {tmp_path}"
    assert full_disk(quota, None) == f"{os.strerror(errno.EDQUOT)}: make room where this command writes to"
    for other in (OSError("broken"), PermissionError(errno.EACCES, "denied"), ValueError("28 requested"), KeyError(28)):
        assert full_disk(other, tmp_path) is None


def test_a_disk_without_a_name_for_one_more_file(tmp_path):
    with small_disk(tmp_path / "disk", 3 * 2**20, "nr_inodes=3") as disk:
        for name in "ab":
            (disk / name).touch()
        with pytest.raises(OSError, match="No space left") as error:
            (disk / "c").touch()
        assert full_disk(error.value, disk) == f"disk full: {disk} takes no more files"


def test_names_that_a_failed_step_gave_back_do_not_hide_that_they_ran_out(tmp_path):
    with small_disk(tmp_path / "disk", 3 * 2**20, "nr_inodes=9") as disk:
        for number in range(8):
            (disk / f"{number}").touch()
        with pytest.raises(OSError, match="No space left") as error:
            (disk / "c").touch()
        for number in range(5):
            (disk / f"{number}").unlink()
        assert full_disk(error.value, disk) == f"disk full: {disk} takes no more files"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (83.8e9, "83.8 GB")]
)
def test_sizes_for_people(size, text):
    assert size_text(size) == text


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path):
    with small_disk(tmp_path / "disk", 2**20) as disk:
        assert free_space(disk / "a" / "b") == 2**20
    assert free_space(tmp_path / "a") == pytest.approx(free_space(tmp_path), rel=0.2)


def test_a_folder_above_that_may_not_be_looked_into_stops_nothing(tmp_path, monkeypatch):
    def denied(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", denied)
    assert free_space(tmp_path / "a" / "b")
    assert same_disk(tmp_path / "a", tmp_path)


def test_a_file_that_another_process_removes_meanwhile_has_no_size(tmp_path, monkeypatch):
    (tmp_path / "there").write_bytes(b"four")
    monkeypatch.setattr("os.walk", lambda folder: [(str(folder), [], ["gone", "there"])])
    assert tree_size(tmp_path) == 4


def test_a_small_file_on_a_full_disk_keeps_the_old_one(tmp_path):
    with small_disk(tmp_path / "disk", 2**16) as disk:
        write_atomic(disk / "record", "old")
        (disk / "ballast").write_bytes(bytes(free_space(disk)))
        with pytest.raises(BenchError) as error:
            write_atomic(disk / "record", "new")
        why = f"disk full: 0 B free in {disk}"
        assert str(error.value) == f"{disk / 'record'}: cannot be written ({why}); free or choose another --results"
        assert (disk / "record").read_text() == "old"


def test_a_command_that_cannot_print_says_so_in_one_line():
    main = "import sys; from benchbench.cli import run_command; sys.exit(run_command(['list']))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", main], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr.splitlines()[0] == "bench: No space left on device: make room where this command writes to"
    assert done.returncode == 1


# A run

#: Where an image came from, in 240 kB that no compression makes small.
LONG_ORIGIN = '{"source": int(index), "why": rng.bytes(120_000).hex()}'


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    with small_disk(tmp_path / "disk", 3 * 2**20) as disk:
        yield World(tmp_path / "plugins", disk / "results")


def test_a_step_whose_file_is_too_large_says_so(world):
    world.edit("toygen", '{"source": int(index)}', LONG_ORIGIN.replace("120_000", "4_000"))
    with file_limit(30_000):
        real, made = world.run()
    why = "file too large: the disk of artifacts or the limit `ulimit -f` allows no larger one; finished work is kept"
    assert (real.status, made.error.partition(": ")[2]) == ("done", why)
    assert [record.status for record in world.run()] == ["done", "done"]


def test_other_folders_of_the_same_disk_are_not_named(world, monkeypatch):
    step = next(step for step in world.plan().steps.values() if step.stage == "sample")
    root = world.results / "artifacts"
    monkeypatch.setenv("BENCH_CACHE", str(world.results.parent / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(world.results.parent))
    sizes = itertools.count(2**20, -4096)  # another process writes to that disk
    monkeypatch.setattr("benchbench.running.work.free_space", lambda folder: next(sizes))
    large = OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    monkeypatch.setattr("benchbench.running.execute.execute", lambda *given: (_ for _ in ()).throw(large))
    told: list[dict] = []
    run_step(step.to_json(), str(root), told.append)
    assert told[-1]["error"].startswith(f"file too large: the disk of {root} or ")


def test_the_full_disk_may_be_that_of_temporary_files(world, tmp_path, monkeypatch):
    step = next(step for step in world.plan().steps.values() if step.stage == "sample")
    with small_disk(tmp_path / "temporary", 4096) as disk:
        (disk / "ballast").write_bytes(bytes(4096))
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        told: list[dict] = []
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr("benchbench.running.execute.execute", lambda *given: (_ for _ in ()).throw(full))
        run_step(step.to_json(), str(world.results / "artifacts"), told.append)
    assert told[-1]["error"] == f"disk full: 0 B free in {disk}; finished work is kept"


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_step_that_fills_the_disk_fails_alone_and_a_rerun_continues(world, executor):
    world.edit("toygen", '{"source": int(index)}', LONG_ORIGIN)
    store = world.results / "artifacts"
    real, made = world.run(executor=executor, workers=1)
    assert (real.status, made.status) == ("done", "failed")
    assert made.error.endswith("; finished work is kept")
    assert "disk full: " in made.error
    assert " free in artifacts" in made.error, "the record names no place of this machine"
    assert not list(store.glob(".tmp-*"))
    subprocess.run(["mount", "-o", f"remount,size={40 * 2**20}", str(world.results.parent)], check=True)
    again = world.run(executor=executor, workers=1)
    assert [record.status for record in again] == ["done", "done"]
    assert again[0] == real


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_step_says_how_much_more_its_images_need(world, executor, monkeypatch):
    """Somebody else fills the disk after the run has begun."""
    ballast = world.results.parent / "ballast"
    ballast.touch()
    fill = "import shutil; name = os.environ['BALLAST']; "
    fill += "open(name, 'wb').write(bytes(shutil.disk_usage(name).free))"
    world.edit("toygen", 'note(f"chunk {chunk.start}")', f"if chunk.start == 10 and 'BALLAST' in os.environ: {fill}")
    monkeypatch.setenv("BALLAST", str(ballast))
    with pytest.raises(BenchError, match="cannot be written"):  # the record of the failure, too
        world.run(executor=executor, workers=1, n_syn=400)
    told: list[dict] = []
    step = next(step for step in world.plan(n_syn=400).steps.values() if step.stage == "sample")
    run_step(step.to_json(), str(world.results / "artifacts"), told.append)
    kept = tree_size(world.results / "artifacts" / ".partial")
    more = size_text(400 * 48 - kept - free_space(ballast))
    assert told[-1]["error"] == f"disk full: {more} more needed in {world.results}/artifacts; finished work is kept"
    ballast.unlink()
    monkeypatch.delenv("BALLAST")
    records = world.run(executor=executor, workers=1, n_syn=400)
    assert [record.status for record in records] == ["done", "done"]


def test_a_record_that_cannot_be_written_ends_the_run_with_one_line(world, tmp_path, monkeypatch):
    ballast = world.results.parent / "ballast"
    fill = (
        "import shutil; open(os.environ['BALLAST'], 'wb').write(bytes(shutil.disk_usage(os.environ['BALLAST']).free))"
    )
    world.edit(
        "toylearner",
        'note(f"train {task.arch}")',
        f'if "BALLAST" in os.environ and task.arch == "b":\n            {fill}',
    )
    ballast.touch()
    monkeypatch.setenv("BALLAST", str(ballast))
    with pytest.raises(BenchError) as error:
        world.run(gen="real", metric="none", arch=["a", "b"])
    assert "cannot be written (disk full: 0 B free in " in str(error.value)
    ballast.unlink()
    monkeypatch.delenv("BALLAST")
    records = world.run(gen="real", metric="none", arch=["a", "b"])
    assert [record.status for record in records] == ["done", "done"]
