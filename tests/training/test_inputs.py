"""From a step's number to the network's input: parts of a batch never show, and nonsense is refused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_context, tiny_info, tiny_recipe, tiny_task

from benchbench.plugins import Augmentation
from benchbench.training import inputs
from benchbench.training.data import make_batches
from benchbench.training.evaluate import Normalise
from benchbench.training.inputs import Inputs
from benchbench.training.loop import Training


@dataclass(frozen=True)
class Darker(Augmentation):
    """Each image by an amount of its own."""

    def imagewise(self, shape, rng, info):
        shares = torch.rand(shape[0], 1, 1, 1, generator=rng)
        return lambda images, part: images * shares[part]


@dataclass(frozen=True)
class Shifted(Augmentation):
    def imagewise(self, shape, rng, info):
        steps = torch.randint(0, 4, (shape[0],), generator=rng).tolist()
        return lambda images, part: torch.stack([x.roll(n, -1) for x, n in zip(images, steps[part], strict=True)])


@dataclass(frozen=True)
class OnlyLoss(Augmentation):
    """Changes no image."""

    def loss(self, logits, targets):
        return logits.square().mean()


@dataclass(frozen=True)
class Blended(Augmentation):
    """Images meet: the batch must be whole."""

    def apply(self, images, targets, rng, info):
        order = torch.randperm(len(images), generator=rng)
        return (images.float() + images[order].float()) / 2, targets


def made(augmentations, step=3, size=10, mix=(1, 2)):
    task = tiny_task(synthetic=mix is not None, mix=mix)
    batches = make_batches(task, 8, size, 0, "cpu")
    pixels, targets = Inputs(batches, augmentations, tiny_info())(step, torch.Generator().manual_seed(step))
    return pixels.clone(), targets.clone()


def plainly(augmentations, step=3, size=10, mix=(1, 2)):
    """The definition: gather, then each link's ``apply`` on the whole batch, then normalise."""
    task = tiny_task(synthetic=mix is not None, mix=mix)
    images, targets = make_batches(task, 8, size, 0, "cpu").batch(step)
    rng = torch.Generator().manual_seed(step)
    for augmentation in augmentations:
        images, targets = augmentation.apply(images, targets, rng, tiny_info())
    return Normalise(tiny_info(), "cpu")(images).clone(), targets.clone()


CHAINS = [
    (),
    (Shifted(),),
    (Shifted(), Darker()),
    (Darker(), Blended()),
    (Blended(), Shifted()),
    (Shifted(), OnlyLoss(), Darker()),
    (Blended(), OnlyLoss(), Shifted()),
    (Shifted(), Blended()),
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "+".join(type(link).__name__ for link in chain) or "none")
@pytest.mark.parametrize("part", [1, 500, 1 << 20])
@pytest.mark.parametrize("mix", [None, (1, 2), (3, 1)])
def test_parts_do_not_show(monkeypatch, chain, part, mix):
    monkeypatch.setattr(inputs, "PART_BYTES", part)
    for step in range(4):
        pixels, targets = made(chain, step, mix=mix)
        expected, labels = plainly(chain, step, mix=mix)
        assert torch.equal(pixels, expected)
        assert torch.equal(targets, labels)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 33), st.integers(1, 7000), st.integers(0, 9))
def test_parts_cover_a_batch_of_any_size(size, part, step):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inputs, "PART_BYTES", part)
        pixels, targets = made((Shifted(),), step, size)
    expected, labels = plainly((Shifted(),), step, size)
    assert torch.equal(pixels, expected)
    assert torch.equal(targets, labels)


def test_parts_have_one_size_as_far_as_it_goes(monkeypatch):
    sizes = []

    @dataclass(frozen=True)
    class Watching(Augmentation):
        def imagewise(self, shape, rng, info):
            return lambda images, part: sizes.append(len(images)) or images

    monkeypatch.setattr(inputs, "PART_BYTES", 5 * 192)  # five images of 3 x 8 x 8 bytes
    made((Watching(),), size=12)
    assert sizes == [4, 4, 4]


def test_an_own_apply_beside_an_inherited_imagewise_is_what_counts():
    @dataclass(frozen=True)
    class Grey(Shifted):
        def apply(self, images, targets, rng, info):
            return torch.full_like(images, 128), targets

    pixels, _ = made((Grey(),))
    assert pixels.unique().numel() == 1


@pytest.mark.parametrize(("part", "count"), [(1, 1), (1 << 20, 10)])
@pytest.mark.parametrize("lost", [lambda images, _: images[:0], lambda images, _: images[:, :, 1:]])
def test_a_lost_image_or_row_is_refused_before_the_next_link_sees_it(monkeypatch, part, count, lost):
    @dataclass(frozen=True)
    class Loses(Augmentation):
        def imagewise(self, shape, rng, info):
            return lost

    monkeypatch.setattr(inputs, "PART_BYTES", part)
    words = rf"^Loses\.imagewise must return images \({count}, 3, 8, 8\); got \("
    for chain in ((Loses(),), (Loses(), Darker()), (Blended(), Loses(), Darker())):
        wanted = words.replace(f"({count},", "(10,") if isinstance(chain[0], Blended) else words
        with pytest.raises(ValueError, match=wanted):
            made(chain)


def test_a_batch_that_lost_targets_is_refused():
    @dataclass(frozen=True)
    class Loses(Augmentation):
        def apply(self, images, targets, rng, info):
            return images, targets[1:]

    with pytest.raises(ValueError, match=r"^Loses.apply must return images \(10, 3, 8, 8\); got .* targets \(9,\)$"):
        made((Loses(),))


def test_an_apply_that_returns_something_else_is_named():
    @dataclass(frozen=True)
    class Alone(Augmentation):
        def apply(self, images, targets, rng, info):
            return images

    with pytest.raises(ValueError, match=r"^Alone.apply must return images and targets, two tensors; got Tensor$"):
        made((Alone(),))


def test_an_accelerator_takes_a_batch_at_once(monkeypatch):
    monkeypatch.setattr(inputs, "PART_BYTES", 1)
    for device, part in (("meta", 10), ("cpu", 1)):
        batches = make_batches(tiny_task(), 8, 10, 0, device)
        assert Inputs(batches, (), tiny_info()).part == part


def test_images_that_carry_a_gradient_do_not_join_the_graph():
    @dataclass(frozen=True)
    class Learned(Augmentation):
        def imagewise(self, shape, rng, info):
            return lambda images, part: images.float().requires_grad_() * 1.0

    pixels, _ = made((Learned(),))
    assert not pixels.requires_grad


def test_a_training_in_parts_is_the_same_training(tmp_path, monkeypatch):
    from tiny import TinyNet

    def trained():
        task = tiny_task(synthetic=True, mix=(1, 2), augmentations=[Shifted(), Darker()])
        training = Training(TinyNet, task, tiny_context(tmp_path), tiny_recipe(), 8)
        for step in range(12):
            training.advance(step)
        return training.model.state_dict()

    whole = trained()
    monkeypatch.setattr(inputs, "PART_BYTES", 400)
    parts = trained()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
