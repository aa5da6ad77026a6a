"""What an augmentation promises: batches in, batches of the same size out, all randomness from ``rng``."""

from __future__ import annotations

import itertools
from collections import OrderedDict

import numpy as np
import torch

from ..plugins import Augmentation, ImageChange
from ..training.grown import grown_pairs
from ..training.pixels import OnDisk
from .subject import NotApplicable, Subject, global_randomness, require

#: What an augmentation may do; ``phases`` goes with ``grow``.
_METHODS = ("apply", "imagewise", "loss", "grow")


def changes_something(subject: Subject) -> None:
    """An augmentation changes batches, the loss or the set; a misspelt method would train as if it were not there."""
    own = {name for name in _METHODS if getattr(type(subject.plugin), name) is not getattr(Augmentation, name)}
    require(bool(own), f"changes nothing: it has none of {', '.join(_METHODS)}")
    if own != {"imagewise"}:
        return
    images, _ = _batch(subject)
    change = subject.plugin.imagewise(images.shape, torch.Generator().manual_seed(3), subject.info)
    require(change is not None, "changes nothing: imagewise returned None and there is no other method")


def returns_batches_of_the_same_size(subject: Subject) -> None:
    """Images stay ``(B, 3, H, W)`` in [0, 255]; targets stay hard, or are soft with rows that sum to 1."""
    _judge(subject, *_batch(subject))


def takes_a_batch_of_one(subject: Subject) -> None:
    """The last batch of a set may hold a single image."""
    images, labels = _batch(subject)
    _judge(subject, images[:1], labels[:1])


def takes_a_batch_of_one_class(subject: Subject) -> None:
    """A batch need not hold every class."""
    images, labels = _batch(subject)
    for label in range(len(subject.info.classes)):
        _judge(subject, images, labels.new_full(labels.shape, label))


def takes_soft_targets(subject: Subject) -> None:
    """An augmentation earlier in the chain may have mixed the labels."""
    images, labels = _batch(subject)
    hard = torch.nn.functional.one_hot(labels, len(subject.info.classes)).float()
    _judge(subject, images, 0.7 * hard + 0.3 * hard.roll(1, 0))


def depends_on_rng_alone(subject: Subject) -> None:
    """One state of ``rng`` gives one result, whatever the global random states are."""
    images, labels = _batch(subject)
    for seed in range(3):
        with global_randomness(1):
            first = _apply(subject, images, labels, seed)
        with global_randomness(2):
            again = _apply(subject, images, labels, seed)
        same = all(_equal(one, other) for one, other in zip(first, again, strict=True))
        require(same, "one state of rng gave two results; draw every random number with generator=rng")


def does_not_change_its_input(subject: Subject) -> None:
    """Batches lie in buffers that are used again, and a picture may show the same images twice: work on a copy."""
    images, labels = _batch(subject)
    kept = images.clone(), labels.clone()
    for seed in range(3):
        _apply(subject, images, labels, seed)
    require(
        torch.equal(images, kept[0]) and torch.equal(labels, kept[1]),
        "apply changed its input in place; work on a copy",
    )


def parts_of_a_batch_make_the_whole(subject: Subject) -> None:
    """What ``imagewise`` returns does to a part of a batch what it does to the whole, in any order of the parts."""
    mro = type(subject.plugin).__mro__
    nearest = {name: next(base for base in mro if name in vars(base)) for name in ("apply", "imagewise")}
    if nearest["apply"] is not Augmentation:  # a nearer apply replaces imagewise, or nothing asks it
        require(
            not issubclass(nearest["imagewise"], nearest["apply"]),
            "imagewise is not asked where there is an own apply; leave one of the two out",
        )
        raise NotApplicable
    images, _ = _batch(subject)

    def drawn() -> ImageChange:
        change = subject.plugin.imagewise(images.shape, torch.Generator().manual_seed(3), subject.info)
        if change is None:
            raise NotApplicable
        return change

    whole = drawn()(images, slice(0, len(images)))
    cuts = [0, 1, 4, len(images)]
    parts = [slice(start, stop) for start, stop in itertools.pairwise(cuts)]
    for sequence in (parts, parts[::-1]):
        change = drawn()
        same = all(_equal(change(images[part].clone(), part), whole[part]) for part in sequence)
        require(same, "imagewise changes an image otherwise when its batch comes in parts; draw for the whole batch")


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors agree; that a number is not finite is another check's complaint."""
    same_kind = one.shape == other.shape and one.dtype == other.dtype
    return same_kind and torch.equal(one.nan_to_num(), other.nan_to_num())


def a_loss_is_a_finite_scalar(subject: Subject) -> None:
    """``loss`` is ``None`` for cross-entropy, or a scalar that has a gradient."""
    images, labels = _batch(subject)
    _, targets = _apply(subject, images, labels)
    logits = torch.linspace(-1, 1, len(labels) * len(subject.info.classes)).reshape(len(labels), -1).requires_grad_()
    loss = subject.plugin.loss(logits, targets)
    if loss is None:
        return
    require(
        loss.ndim == 0 and bool(torch.isfinite(loss)), f"loss must be a finite scalar; got shape {tuple(loss.shape)}"
    )
    require(loss.requires_grad, "loss must be differentiable with respect to the logits")


def phases_ascend_within_the_run(subject: Subject) -> None:
    """Each phase is a step in 1..steps-1, in ascending order, also of very short runs."""
    for steps in (1, 2, 3, 10, 1000):
        phases = subject.plugin.phases(steps)
        fine = list(phases) == sorted(set(phases)) and all(type(at) is int and 1 <= at < steps for at in phases)
        require(fine, f"phases({steps}) must be ascending steps in 1..{steps - 1}; got {phases}")


def grows_the_set_with_valid_images(subject: Subject) -> None:
    """What ``grow`` adds are uint8 images of the same size with labels of known classes."""
    if not subject.plugin.phases(1000):
        raise NotApplicable
    images, labels = _batch(subject)
    rng = torch.Generator().manual_seed(subject.seed)
    for added, names in grown_pairs(subject.plugin, _model(subject), images, labels, rng, subject.info):
        _judge_grown(subject, images, added, names)


def grows_the_same_from_disk(subject: Subject) -> None:
    """With ``grows_from_disk``, a set that gives tensors for an index grows by what its tensor grows by."""
    if not (subject.plugin.grows_from_disk and subject.plugin.phases(1000)):
        raise NotApplicable
    images, labels = _batch(subject)
    on_disk = OnDisk(subject.given.images[:10], images.shape[-1], "cpu")
    grown = []
    for given in (images, on_disk):
        rng = torch.Generator().manual_seed(subject.seed)
        pairs = grown_pairs(subject.plugin, _model(subject), given, labels, rng, subject.info)
        grown.append([torch.cat(parts) for parts in zip(*pairs, strict=True)])
    same = all(_equal(one, other) for one, other in zip(*grown, strict=True))
    require(same, "a set on disk grew by other images than the same set in memory")


def _judge_grown(subject: Subject, images: torch.Tensor, added: torch.Tensor, names: torch.Tensor) -> None:
    require(added.dtype == torch.uint8, f"grown images must be uint8; got {added.dtype}")
    require(added.ndim == 4 and added.shape[1:] == images.shape[1:], f"grown images have shape {tuple(added.shape)}")
    require(names.dtype == torch.int64 and len(names) == len(added), "grown labels must be int64, one for each image")
    known = len(names) == 0 or (int(names.min()) >= 0 and int(names.max()) < len(subject.info.classes))
    require(known, f"grown labels must lie in 0..{len(subject.info.classes) - 1}")


def _batch(subject: Subject) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = np.ascontiguousarray(np.asarray(subject.given.images[:10]).transpose(0, 3, 1, 2))
    return torch.from_numpy(pixels), torch.from_numpy(np.array(subject.given.labels[:10]))


def _apply(
    subject: Subject, images: torch.Tensor, targets: torch.Tensor, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    result = subject.plugin.apply(images, targets, torch.Generator().manual_seed(seed), subject.info)
    require(isinstance(result, tuple) and len(result) == 2, "apply must return (images, targets)")
    return result


def _judge(subject: Subject, images: torch.Tensor, targets: torch.Tensor) -> None:
    """Apply the augmentation to a batch and require of what comes back what every batch must be."""
    changed, soft = _apply(subject, images, targets)
    lost = targets.is_floating_point() and not soft.is_floating_point()
    require(not lost, "soft targets came back hard; the labels that were mixed before are lost")
    require(changed.shape == images.shape, f"images of shape {tuple(images.shape)} came back as {tuple(changed.shape)}")
    right = changed.dtype == torch.uint8 or changed.is_floating_point()
    require(right, f"images must be uint8, or float in [0, 255]; got {changed.dtype}")
    low, high = float(changed.min()), float(changed.max())
    require(0 <= low <= high <= 255, f"pixels must lie in [0, 255]; got {low:g}..{high:g}")
    require(len(soft) == len(images), f"{len(images)} images but {len(soft)} targets")
    if soft.ndim == 1:
        require(soft.dtype == torch.int64, f"hard targets must be int64; got {soft.dtype}")
        require(int(soft.min()) >= 0, "hard targets must be labels")
        require(
            int(soft.max()) < len(subject.info.classes), f"a target is no label of {len(subject.info.classes)} classes"
        )
        return
    wide = soft.shape[1:] == (len(subject.info.classes),) and soft.is_floating_point()
    require(wide, f"soft targets must be float (B, {len(subject.info.classes)}); got {soft.dtype} {tuple(soft.shape)}")
    sums = soft.double().sum(1)
    close = bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-4)) and float(soft.min()) >= 0
    require(close, "rows of soft targets must not be negative and must sum to 1")


def _model(subject: Subject) -> torch.nn.Module:
    """Return the smallest thing that has what ``grow`` is promised of a model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = torch.nn.Linear(3 * subject.info.resolution**2, 8)
        features = torch.nn.Sequential(torch.nn.Flatten(), body, torch.nn.Tanh())
        head = torch.nn.Linear(8, len(subject.info.classes))
    return torch.nn.Sequential(OrderedDict(features=features, head=head)).eval()
