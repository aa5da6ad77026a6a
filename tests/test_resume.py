"""``context.resume``: a loop that was killed and started again ends as if nobody had killed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from benchbench.plugins import Generator, ImageSet
from benchbench.testing import make_context, tiny_info
from benchbench.testing.generator import fit_survives_a_kill
from benchbench.testing.subject import Subject


class Counter:
    """Something of an author's own with a state."""

    def __init__(self):
        self.value = 0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, saved):
        self.value = saved["value"]


class KilledError(BaseException):
    pass


def trained(context, steps=6, die_at=None):
    """Train a network with every kind of state; return the state and the steps that were taken."""
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    noise, draws = torch.Generator().manual_seed(1), np.random.default_rng(2)
    total, table, counter = torch.zeros(()), np.zeros((steps, 2), np.float32), Counter()
    losses, notes, taken = [], {}, []
    state = (net, optimizer, schedule, noise, draws, total, table, counter, losses, notes)
    for step in context.resume(range(steps), *state):
        if step == die_at:
            raise KilledError
        loss = net(torch.randn(4, 3, generator=noise)).square().mean() * float(draws.random())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.detach()
        table[step] = net.bias.detach().numpy()
        losses.append(loss.item())
        counter.value += 1
        notes[str(step)] = {"loss": [losses[-1], None], "bias": net.bias.detach().clone()}
        taken.append(step)
    weights = [item.detach().numpy().tobytes() for item in net.parameters()]
    bias = [item["bias"].numpy().tobytes() for item in notes.values()]
    return (weights, bias, float(total), table.tobytes(), counter.value, losses, schedule.get_last_lr()), taken


@pytest.mark.parametrize("die_at", [0, 1, 3, 5])
def test_killed_anywhere_and_started_again_the_state_is_the_same(tmp_path, die_at):
    whole, every = trained(make_context(tmp_path / "whole", save_every=0))
    with pytest.raises(KilledError):
        trained(make_context(tmp_path / "killed", save_every=0), die_at=die_at)
    resumed, taken = trained(make_context(tmp_path / "killed", save_every=0))
    assert every == list(range(6))
    assert taken == every[die_at:]
    assert resumed == whole


@pytest.mark.parametrize("changed", [{"seed": 5}, {"device": "cuda"}, {"precision": "bf16"}])
def test_what_was_computed_otherwise_is_not_continued(tmp_path, changed):
    trained(make_context(tmp_path, save_every=0, **changed))
    _, taken = trained(make_context(tmp_path, save_every=0))
    assert taken == list(range(6))
    _, taken = trained(make_context(tmp_path, save_every=0))
    assert taken == []


def test_a_loop_between_two_savings_is_repeated_from_the_last_one(tmp_path):
    """Nothing was saved in the first 30 seconds, so that all is done anew, with the same result."""
    whole, _ = trained(make_context(tmp_path / "whole"))
    with pytest.raises(KilledError):
        trained(make_context(tmp_path / "killed"), die_at=4)
    resumed, taken = trained(make_context(tmp_path / "killed"))
    assert taken == list(range(6))
    assert resumed == whole


def test_a_finished_loop_is_not_repeated(tmp_path):
    first, _ = trained(make_context(tmp_path))
    again, taken = trained(make_context(tmp_path))
    assert taken == []
    assert again == first


def test_a_damaged_file_costs_its_items_and_not_the_run(tmp_path):
    whole, _ = trained(make_context(tmp_path))
    (file,) = make_context(tmp_path).scratch.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    again, taken = trained(make_context(tmp_path))
    assert taken == list(range(6))
    assert again == whole


def test_items_without_a_length_need_a_total(tmp_path):
    seen = []
    for item in make_context(tmp_path).resume(iter("abc"), seen, total=3, label="letters", unit="letter"):
        seen.append(item)
    assert seen == ["a", "b", "c"]
    with pytest.raises(TypeError):
        list(make_context(tmp_path / "other").resume(iter("abc"), seen))


def test_two_loops_of_a_step_keep_apart_or_are_refused(tmp_path):
    context = make_context(tmp_path)
    first, second = [], []
    for item in context.resume("ab", first, label="one"):
        first.append(item)
    for item in context.resume("cd", second, label="two"):
        second.append(item)
    assert (first, second) == (["a", "b"], ["c", "d"])
    with pytest.raises(ValueError, match="two loops that resume are called 'one'; give each its own label="):
        list(context.resume("ef", [], label="one"))


def test_what_cannot_be_read_back_without_running_code_is_refused(tmp_path):
    state = {"value": np.zeros(2)}
    with pytest.raises(TypeError, match="cannot save a ndarray inside of its state; make it a tensor"):
        list(make_context(tmp_path).resume("a", state))


@pytest.mark.parametrize("state", [3, None, "text"])
def test_what_could_not_be_restored_in_place_is_refused(tmp_path, state):
    with pytest.raises(
        TypeError, match=f"cannot save a {type(state).__name__} as state; put it into a list or an array"
    ):
        list(make_context(tmp_path).resume("a", state))


def test_numbers_of_numpy_among_plain_ones_are_read_back(tmp_path):
    """NumPy's float64 and text are Python's too, and a reader that runs no code refuses them."""
    losses, notes = [np.float64(0.5)], {np.str_("best"): np.float64(0.25)}
    assert list(make_context(tmp_path).resume("ab", losses, notes)) == ["a", "b"]
    losses, notes = [], {}
    assert list(make_context(tmp_path).resume("ab", losses, notes)) == []
    assert (losses, notes) == ([0.5], {"best": 0.25})


def test_a_file_of_another_form_costs_its_items_and_not_the_run(tmp_path):
    whole, _ = trained(make_context(tmp_path))
    (file,) = make_context(tmp_path).scratch.iterdir()
    torch.save([1, 2], file)
    assert trained(make_context(tmp_path)) == (whole, list(range(6)))


def test_parts_that_were_finished_are_not_made_again(tmp_path):
    made = []

    def make(item, folder):
        made.append(item)
        (folder / "half").write_text(item)
        if item == dies:
            raise KilledError
        (folder / "whole").write_text(item)

    dies = "c"
    with pytest.raises(KilledError):
        make_context(tmp_path).resume_parts("abcd", make)
    dies = ""
    folders = make_context(tmp_path).resume_parts("abcd", make)
    assert made == ["a", "b", "c", "c", "d"]
    assert [(folder / "whole").read_text() for folder in folders] == ["a", "b", "c", "d"]


@dataclass(frozen=True)
class Learned(Generator):
    """A stranger's generator: it learns the mean image of each class by descent with momentum, and yields these."""

    forgets: ClassVar[bool] = False

    def fit(self, train, context):
        """Take forty steps, each on one image that is drawn anew."""
        means = np.zeros((len(train.classes), *train.images.shape[1:]))
        speed = np.zeros_like(means)
        state = (means,) if self.forgets else (means, speed)
        for step in context.resume(range(40), *state):
            place = int(context.rng(step).integers(len(train)))
            label = train.labels[place]
            speed[label] = 0.5 * speed[label] + 0.1 * (train.images[place] - means[label])
            means[label] += speed[label]
        np.save(context.folder / "means.npy", means)

    def sample(self, train, context):
        """Yield the means, the classes in turn."""
        means = np.rint(np.load(context.fitted[0] / "means.npy")).clip(0, 255).astype(np.uint8)
        for chunk in context.chunks(context.n_syn, 100):
            labels = np.array(chunk) % len(train.classes)
            yield ImageSet(means[labels], labels, train.classes)


@dataclass(frozen=True)
class Forgetful(Learned):
    """The same, but its momentum is not in the state."""

    forgets: ClassVar[bool] = True


def checked(cls, folder):
    """Run the conformance suite's check of kills alone; the whole suite refuses modules that import torch."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    train = ImageSet(images, np.arange(6) % 2, ("a", "b"))
    subject = Subject(cls, "learned", {}, folder, train, tiny_info(train), 4, None)
    assert fit_survives_a_kill(subject) == ""


def test_one_line_lets_a_strangers_training_survive_a_kill(tmp_path):
    checked(Learned, tmp_path)


def test_a_state_that_lacks_something_is_noticed_by_the_conformance_suite(tmp_path):
    with pytest.raises(AssertionError, match="fit wrote other bytes after a kill and a second start than in one go"):
        checked(Forgetful, tmp_path)
