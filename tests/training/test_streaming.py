"""Images left on disk: the same training as with all of them on the device, in bounded memory, also after a kill."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loop import Adversarial, KilledError, MixUp, same
from tiny import TinyNet, tiny_context, tiny_info, tiny_recipe, tiny_set, tiny_task

from benchbench.plugins import Augmentation, ImageSet
from benchbench.plugins.catalog import catalog
from benchbench.training import loop
from benchbench.training.ahead import Ahead, in_turn
from benchbench.training.data import make_batches
from benchbench.training.grown import GrownFile, grown_pairs
from benchbench.training.loop import Training, train_classifier
from benchbench.training.pixels import OnDisk, resized

NAMES = [entry.name for entry in catalog().entries("augmentation") if entry.distribution == "benchbench"]
CHAINS = [(), *((name,) for name in NAMES), ("default", "cutout", "mixup", "meada"), ("meada", "augmix", "cutmix")]


def on_file(images: ImageSet, folder: Path) -> ImageSet:
    images.save(folder)
    return ImageSet.load(folder)


def task_on_disk(folder: Path, chain=(), mix=None, side: int = 8):
    """A task whose images are memory-mapped, at another side than the network's unless it is 8."""
    task = tiny_task(synthetic=mix is not None, mix=mix, augmentations=chain)
    sets = {"real": tiny_set(30, 0, side), "synthetic": tiny_set(60, 1, side) if mix else None}
    sets = {name: images and on_file(images, folder / name) for name, images in sets.items()}
    return replace(task, test=on_file(tiny_set(31, 3, side), folder / "test").without_labels(), **sets)


def links(*names):
    from benchbench.plugins.catalog import load

    return [load(catalog().get("augmentation", name))() for name in names]


def trained(task, folder, images, recipe=None):
    """Return the final weights, the outcome and the answers on the way."""
    made = []

    def build():
        made.append(TinyNet())
        return made[-1]

    task = replace(task, answers={})
    outcome = train_classifier(build, task, tiny_context(folder), recipe or tiny_recipe(), 8, images)
    return made[-1].state_dict(), outcome, task.answers


def assert_same(one, other):
    assert same(one[0], other[0])
    assert np.array_equal(one[1].probabilities, other[1].probabilities)
    assert replace(one[1], probabilities=0) == replace(other[1], probabilities=0)
    assert one[2].keys() == other[2].keys()
    assert all(torch.equal(one[2][at], other[2][at]) for at in one[2])


@pytest.fixture(autouse=True)
def small_reads(monkeypatch):
    """A batch takes several reads."""
    monkeypatch.setattr("benchbench.training.pixels.READ_AT_ONCE", 3)
    monkeypatch.setattr("benchbench.training.evaluate.scoring_batch", lambda *_: 7)


@pytest.mark.parametrize("chain", CHAINS, ids="+".join)
@pytest.mark.parametrize(("mix", "side"), [(None, 8), ((1, 2), 12), ((3, 1), 8)])
def test_streamed_is_resident_bit_for_bit(tmp_path, chain, mix, side):
    task = task_on_disk(tmp_path, links(*chain), mix, side)
    assert_same(trained(task, tmp_path / "s", "streamed"), trained(task, tmp_path / "r", "resident"))
    assert list((tmp_path / "s/scratch").glob("*")) == []


def test_a_training_in_parts_streams_too(tmp_path, monkeypatch):
    monkeypatch.setattr("benchbench.training.inputs.PART_BYTES", 400)
    task = task_on_disk(tmp_path, links("default", "cutout"), (1, 2))
    assert_same(trained(task, tmp_path / "s", "streamed"), trained(task, tmp_path / "r", "resident"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("chain", [(), ("default", "mixup", "meada")], ids="+".join)
def test_an_accelerator_gets_the_same_batches(tmp_path, chain):
    task = task_on_disk(tmp_path, links(*chain), (1, 2), 12)
    outcomes = []
    for images in ("resident", "streamed"):
        context = replace(tiny_context(tmp_path / images), device="cuda")
        outcomes.append(train_classifier(TinyNet, task, context, tiny_recipe(200), 8, images))
    assert np.array_equal(outcomes[0].probabilities, outcomes[1].probabilities)
    assert outcomes[0].curve == outcomes[1].curve


def killed(monkeypatch, task, folder, images, at):
    advance = Training.advance

    def until(self, step):
        if step == at:
            raise KilledError
        advance(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "advance", until)
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        with pytest.raises(KilledError):
            trained(task, folder, images)


@pytest.mark.parametrize("at", [3, 5, 9, 11])
@pytest.mark.parametrize(
    ("before", "after"), [("streamed", "streamed"), ("resident", "streamed"), ("streamed", "resident")]
)
def test_killed_and_continued_on_either_path(tmp_path, monkeypatch, at, before, after):
    task = task_on_disk(tmp_path, [MixUp(), Adversarial(), *links("meada")], (1, 2))
    killed(monkeypatch, task, tmp_path / "k", before, at)
    begun = Training(TinyNet, task, tiny_context(tmp_path / "k"), tiny_recipe(), 8, after)
    begun.resume()
    assert begun.step == at
    assert_same(trained(task, tmp_path / "k", after), trained(task, tmp_path / "r", "resident"))
    assert list((tmp_path / "k/scratch").iterdir()) == []


def test_a_checkpoint_holds_no_pixel(tmp_path, monkeypatch):
    task = task_on_disk(tmp_path, links("meada"), (1, 2))
    for images in ("resident", "streamed"):
        killed(monkeypatch, task, tmp_path / images, images, 9)
        state = torch.load(tmp_path / images / "scratch/training.pt", weights_only=True)
        assert [grown["count"] for grown in state["grown"]] == [30 + 60, 60 + 64]
        found = [value.dtype for source in state["sources"] for value in source.values() if torch.is_tensor(value)]
        assert found == [torch.int64, torch.int64]
        sizes = [(tmp_path / images / f"scratch/grown-{name}.u8").stat().st_size for name in ("real", "synthetic")]
        assert sizes == [90 * 192, 124 * 192]


@pytest.mark.parametrize(
    "damage", [lambda old: b"", lambda old: old[:-1], lambda old: old[:50] + b"?" + old[51:], None]
)
def test_grown_images_that_are_damaged_or_gone_cost_their_steps_alone(tmp_path, monkeypatch, damage):
    task = task_on_disk(tmp_path, links("meada"))
    killed(monkeypatch, task, tmp_path / "k", "streamed", 9)
    file = tmp_path / "k/scratch/grown-real.u8"
    file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
    begun = Training(TinyNet, task, tiny_context(tmp_path / "k"), tiny_recipe(), 8, "streamed")
    begun.resume()
    assert begun.step == 0
    assert_same(trained(task, tmp_path / "k", "streamed"), trained(task, tmp_path / "r", "resident"))


def test_what_grew_after_the_checkpoint_is_written_over(tmp_path, monkeypatch):
    task = task_on_disk(tmp_path, links("meada"))
    killed(monkeypatch, task, tmp_path / "k", "streamed", 5)
    with (tmp_path / "k/scratch/grown-real.u8").open("ab") as stream:
        stream.write(b"left by a kill while the second round was written")
    assert_same(trained(task, tmp_path / "k", "streamed"), trained(task, tmp_path / "r", "resident"))


@pytest.mark.parametrize("fit", [29, 30, 59, 61, 100, 120, 121, 151])
@pytest.mark.parametrize("mix", [None, (1, 2)])
def test_sets_that_outgrow_the_room_are_left_on_disk_from_then_on(tmp_path, monkeypatch, fit, mix):
    """Room for so many images: the sets, then the grown ones, then the test images, do or do not fit."""
    monkeypatch.setattr(loop, "training_room", lambda device: fit * 192)
    task = task_on_disk(tmp_path, [Adversarial()], mix)
    begun = Training(TinyNet, task, tiny_context(tmp_path / "t"), tiny_recipe(), 8)
    first = 90 if mix else 30
    assert begun.batches.on_disk == (fit < first)
    assert isinstance(begun.test, OnDisk) == (fit < 31 + (first if fit >= first else 0))
    for step in range(12):
        begun.advance(step)
    assert begun.batches.on_disk == (fit < 4 * first)
    assert_same(trained(task, tmp_path / "s", "auto"), trained(task, tmp_path / "r", "resident"))


# -- Sets on disk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [8, 12])
def test_a_set_on_disk_gives_what_the_tensor_gives(tmp_path, side):
    images = on_file(tiny_set(20, 0, side), tmp_path).images
    grown = np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8)
    there, on_disk = torch.cat([resized(images, 8), torch.from_numpy(grown)]), OnDisk(images, 8, "cpu", grown)
    assert (on_disk.shape, on_disk.dtype, on_disk.device) == (there.shape, there.dtype, there.device)
    assert len(on_disk) == 29
    mask = torch.arange(29) % 4 == 1
    for rows in (
        slice(None),
        slice(18, 23),
        slice(-4, None),
        slice(5, 5),
        torch.tensor([28, 0, 19, 20, -1, 3]),
        mask,
        7,
        -2,
    ):
        assert torch.equal(on_disk[rows], there[rows])
    with pytest.raises(IndexError):
        on_disk[29]
    assert torch.equal(torch.cat([image[None] for image in on_disk]), there)


def test_a_view_that_is_not_contiguous_is_read_as_it_is():
    images = tiny_set(20, 0).images
    for view in (images[::-2], images[:, ::-1], images.transpose(0, 2, 1, 3)):
        assert torch.equal(OnDisk(view, 8, "cpu")[:], resized(view, 8))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50))
def test_all_images_in_turn(count, size):
    images = tiny_set(count, 0).images
    parts = [part.clone() for part in in_turn(OnDisk(images, 8, "cpu"), size)]
    assert torch.equal(torch.cat(parts), resized(images, 8))
    assert [len(part) for part in parts] == [len(part) for part in resized(images, 8).split(size)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 5)), max_size=12))
def test_whatever_was_begun_what_is_asked_for_comes(asked):
    """Also where something else was begun, or the same is asked for again."""
    names = [f"{value}" for value in range(6)]  # compared as objects

    def read(name, out):
        out[: int(name)] = int(name)
        return int(name)

    ahead = Ahead(read, (5, 1), "cpu")
    for name, then in asked:
        found = ahead.get(names[name], None if then is None else names[then])
        assert found.tolist() == [[name]] * name


def test_an_error_while_reading_is_raised_where_images_are_asked_for():
    def read(name, out):
        raise OSError(f"no {name}")

    ahead = Ahead(read, (5, 1), "cpu")
    with pytest.raises(OSError, match="no first"):
        ahead.get("first", "second")


def test_a_batch_is_read_while_the_one_before_is_used(tmp_path):
    """When a batch is there, the next one has been asked for: nothing but a wait is left for its step."""
    task = task_on_disk(tmp_path)
    batches = make_batches(task, 8, 10, seed=3, device="cpu", room=0)
    plain = make_batches(task, 8, 10, seed=3, device="cpu")
    for step in (0, 1, 2, 7, 7, 8, 3):  # a training goes on by one; others may not
        images, labels = batches.batch(step)
        assert batches._ahead._asked[0] is batches._next[1]
        expected, wanted = plain.batch(step)
        assert torch.equal(images, expected)
        assert torch.equal(labels, wanted)


def test_a_grown_file_continues(tmp_path):
    images = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8)
    file = GrownFile(tmp_path / "new/grown", (3, 4, 4))
    assert file.images().shape == (0, 3, 4, 4)
    for part in images[:12].split(5):
        file.append(part)
    state = file.state()
    file.append(images[:3])  # lost in a kill
    again = GrownFile(file.path, (3, 4, 4))
    assert again.restore(state)
    again.append(images[12:].to(memory_format=torch.channels_last))
    assert torch.equal(torch.from_numpy(again.images().copy()), images)
    assert torch.equal(torch.from_numpy(again.images(15).copy()), images[15:])
    assert file.path.stat().st_size == 20 * 48


def test_what_grows_may_be_returned_or_yielded_and_takes_a_set_on_disk_if_it_says_so():
    pair, seen = (torch.zeros(1), torch.ones(1)), []

    def pairs(made, from_disk=False):
        class Grows(Augmentation):
            grows_from_disk = from_disk

            def grow(self, model, images, labels, rng, info):
                seen.append(type(images))
                return made

        images = OnDisk(tiny_set(4, 0).images, 8, "cpu")
        return list(grown_pairs(Grows(), TinyNet(), images, torch.zeros(4), torch.Generator(), tiny_info()))

    assert pairs(pair) == [pair]
    assert pairs(list(pair), from_disk=True) == [[*pair]]
    assert pairs(iter([pair, pair])) == [pair, pair]
    assert seen == [torch.Tensor, OnDisk, torch.Tensor]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from Linux")
def test_a_set_is_read_through_without_staying_in_memory(tmp_path):
    """192 MiB, in a process of its own: by whole passes, at random and at another size."""
    script = """
import sys, numpy as np
from benchbench.running.execute import peak_memory_mib, reset_peak_memory
from benchbench.training import pixels
from benchbench.training.pixels import OnDisk, resized
pixels.DROP_AFTER = 32
rng = np.random.default_rng(0)
for side in (32, 256):
    images = np.lib.format.open_memmap(sys.argv[1], "w+", np.uint8, ((192 << 20) // (3 * side**2), side, side, 3))
    images[:] = 7
    del images
    images = np.load(sys.argv[1], mmap_mode="r")
    out = np.empty((32, 3, side, side), np.uint8)
    on_disk = OnDisk(images, side, "cpu")
    on_disk.read(np.arange(32), out)
    reset_peak_memory()
    start = peak_memory_mib()
    for _ in range(2 * len(images) // 32):
        on_disk.read(rng.integers(0, len(images), 32), out)
    resized(images, 8)
    print(peak_memory_mib() - start)  # 192 without anything given back
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "images.npy"], capture_output=True, text=True, check=True
    )
    assert all(float(line) < 120 for line in done.stdout.split()), done.stdout
