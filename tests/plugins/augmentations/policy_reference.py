"""Torchvision's own transforms, driven by the draws of a plan: what the batched policies are held to."""

from __future__ import annotations

from unittest import mock

import numpy as np
import torch
from torchvision.transforms import InterpolationMode, autoaugment

from benchbench_plugins.augmentations._plan import IDENTITY, OPERATORS

MODES = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}


def pictures(count, height, width=None, seed=0):
    """Random images of differing range, so that contrast, equalize and flat channels have something to do."""
    width = width or height
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(0, 256, (2, count, 3, 1, 1)), axis=0)
    noise = rng.integers(low, high + 1, (count, 3, height, width))
    noise[: count // 3] = rng.integers(0, 256, (count // 3, 3, height, width))  # the whole range
    noise[0, 0] = 77  # a flat channel
    noise[0, 1] = 255
    return torch.from_numpy(noise.astype(np.uint8))


def one_by_one(images, operators, magnitudes, interpolation):
    """Return each image after its row of operators, by torchvision's functions."""
    out = []
    for image, names, values in zip(images, operators, magnitudes, strict=True):
        for name, value in zip(names, values, strict=True):
            image = autoaugment._apply_op(image, OPERATORS[name], float(value), MODES[interpolation], None)
        out.append(image)
    return torch.stack(out)


def scripted(draws):
    """Replace ``torch.randint`` by a list of results, all of which must be asked for."""
    left = list(draws)

    def randint(*args, **kwargs):
        return torch.tensor([left.pop(0)])

    return mock.patch.object(torch, "randint", randint), left


def transformed(transform, image, space, plan_rows, *, bins=False, depths=False):
    """Return ``transform(image)`` with the operators of ``plan_rows`` in place of its own draws.

    Args:
        transform: a RandAugment or an AugMix of torchvision.
        image: uint8 ``(3, H, W)``.
        space: the transform's ``_augmentation_space``, by operator name.
        plan_rows: operators and magnitudes of the image's chains, one row each.
        bins: whether the transform draws a magnitude bin for each operator.
        depths: whether it draws the length of each chain, which identity fills up in a plan.
    """
    names, draws = list(space), []
    for operators, magnitudes in zip(*plan_rows, strict=True):
        active = operators != IDENTITY if depths else np.full(len(operators), True)
        if depths:
            draws.append(int(active.sum()))
        for operator, magnitude in zip(operators[active], magnitudes[active], strict=True):
            values, signed = space[OPERATORS[operator]]
            draws.append(names.index(OPERATORS[operator]))
            if bins and values.ndim > 0:
                draws.append(int((values.double() - abs(magnitude)).abs().argmin()))
            if signed:
                draws.append(int(magnitude < 0))
    patch, left = scripted(draws)
    with patch:
        result = transform(image)
    assert not left
    return result
