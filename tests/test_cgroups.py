"""Limits of containers: of the group that a process is really in, and of every one above it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from limits import memory_group

from benchbench import machine
from benchbench.cgroups import core_quota, memory_left

GIB = 2**30
V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "37 31 0:34 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
OWN_V1 = "7:cpuacct,cpu:/job\n4:memory:/slurm/job\n1:name=systemd:/other\n0::/\n"


def tree(root: Path, own: str, mounts: str, **files: int | str) -> Path:
    """Write a fake ``proc`` and the files of groups; ``__`` in a name stands for a slash, ``_`` for a dot."""
    for name, text in {"proc/self/cgroup": own, "proc/self/mountinfo": "1 1 8:1 / / rw - ext4 d rw\n" + mounts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, value in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/")
        path = path.with_name(path.name.replace("memory_", "memory.").replace("cpu_", "cpu."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def test_without_control_groups_nothing_is_limited(tmp_path):
    assert (memory_left(tmp_path), core_quota(tmp_path)) == (None, None)
    root = tree(tmp_path, "0::/a\n", V2, a__memory_max="max", a__memory_current=5, a__cpu_max="max 100000")
    assert (memory_left(root), core_quota(root)) == (None, None)


@pytest.mark.parametrize(
    ("files", "left", "cores"),
    [
        ({"a__b__memory_max": 4 * GIB, "a__b__memory_current": GIB, "a__b__cpu_max": "150000 100000"}, 3 * GIB, 1.5),
        ({"a__memory_max": 2 * GIB, "a__memory_current": GIB, "a__b__memory_max": 9 * GIB}, GIB, None),
        ({"a__memory_high": 2 * GIB, "a__memory_current": GIB, "a__memory_max": "max"}, GIB, None),
        ({"a__memory_max": GIB, "a__memory_current": 2 * GIB}, 0, None),
        ({"memory_max": GIB, "memory_current": 0, "a__b__cpu_max": "max 9", "cpu_max": "9 3"}, GIB, 3.0),
        ({"elsewhere__memory_max": GIB, "elsewhere__memory_current": 0}, None, None),
    ],
    ids=["own", "above", "high", "over", "top", "not ours"],
)
def test_the_tightest_limit_of_the_own_group_and_of_those_above(tmp_path, files, left, cores):
    root = tree(tmp_path, "0::/a/b\n", V2, **files)
    assert (memory_left(root), core_quota(root)) == (left, cores)


def test_version_1_has_a_tree_for_each_controller(tmp_path):
    files = {
        "memory__slurm__job__memory_limit_in_bytes": 3 * GIB,
        "memory__slurm__job__memory_usage_in_bytes": GIB,
        "memory__memory_limit_in_bytes": 9223372036854771712,
        "memory__memory_usage_in_bytes": 7 * GIB,
        "cpu,cpuacct__job__cpu_cfs_quota_us": 250_000,
        "cpu,cpuacct__job__cpu_cfs_period_us": 100_000,
        "cpu,cpuacct__cpu_cfs_quota_us": -1,
        "cpu,cpuacct__cpu_cfs_period_us": 100_000,
    }
    root = tree(tmp_path, OWN_V1, V1, **files)
    assert (memory_left(root), core_quota(root)) == (2 * GIB, 2.5)


def test_a_container_that_sees_its_own_group_as_the_top(tmp_path):
    """Its mount begins at the group; the path in ``proc`` may be the one that the host knows."""
    mounts = V2.replace(" / /sys", " /docker/abc /sys")
    files = {"memory_max": 2 * GIB, "memory_current": GIB}
    for own in ("0::/docker/abc\n", "0::/\n", "0::/docker/abc/inner\n"):
        assert memory_left(tree(tmp_path, own, mounts, **files)) == GIB


@pytest.mark.parametrize("version", [1, 2])
def test_what_files_keep_in_memory_counts_as_free(tmp_path, version):
    if version == 2:
        files = {"memory_max": 4 * GIB, "memory_current": 4 * GIB, "memory_stat": f"active_file {GIB}\ninactive_file 5"}
        root = tree(tmp_path, "0::/\n", V2, **files)
    else:
        stat = f"inactive_file 0\ntotal_inactive_file 5\ntotal_active_file {GIB}"
        files = {"limit_in_bytes": 4 * GIB, "usage_in_bytes": 4 * GIB, "stat": stat}
        files = {f"memory__memory_{name}": value for name, value in files.items()}
        root = tree(tmp_path, "4:memory:/\n", V1, **files)
    assert memory_left(root) == GIB + 5


def test_a_real_group_limits_what_a_process_believes_to_have():
    ask = "from benchbench import machine as m; print(m.free_memory(), m.training_room('cpu'), m.fitting_workers())"
    with memory_group(GIB) as inside:
        said = subprocess.run([*inside, sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    free, room, workers = map(int, said.split())
    assert 0.9 * GIB < free < GIB
    assert 0.36 * GIB < room < 0.4 * GIB
    assert workers == 1


@pytest.mark.parametrize(
    ("seen", "printed", "gib"),
    [
        (None, "0, GPU-aa, 81559\n1, GPU-bb, 40960\n", 40),
        ("1", "0, GPU-aa, 20480\n1, GPU-bb, 40960\n", 40),
        ("GPU-a", "0, GPU-aa, 20480\n1, GPU-bb, 40960\n", 20),
        ("MIG-7", "0, GPU-aa, 20480\n", 20),
        (None, "0, GPU-aa, [N/A]\n", None),
        (None, None, None),
    ],
)
def test_the_memory_of_the_accelerator_is_that_of_the_smallest_that_is_seen(monkeypatch, seen, printed, gib):
    if seen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    monkeypatch.setattr(machine, "_output", lambda *command: printed)
    machine._listed_memory.cache_clear()
    try:
        assert machine.accelerator_memory() == (gib and gib * GIB)
        monkeypatch.setattr(machine, "free_memory", lambda: 2 * GIB)
        assert machine.training_room("cuda") == int(0.4 * (gib or 8) * GIB)
        assert machine.training_room("cpu") == int(0.8 * GIB)
    finally:
        machine._listed_memory.cache_clear()
