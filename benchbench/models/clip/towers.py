"""The parts of an opened CLIP, the same for each library that opens one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Towers:
    """What turns images and texts into embeddings; no weight takes a gradient, gradients of inputs pass.

    Attributes:
        image: pixels ``(N, 3, S, S)`` to embeddings ``(N, width)``, not normalised.
        text: token ids ``(N, positions)`` to embeddings ``(N, width)``, not normalised.
        tokenize: texts to token ids, int64 ``(N, positions)``; a text that is too long is cut before its end marker.
        count: texts to their numbers of tokens with the two markers, uncut.
        token_embedding: the first layer of the text tower, ids to rows; positions are added behind it.
        logit_scale: what cosines are multiplied by before a softmax.
    """

    image: Encode
    text: Encode
    tokenize: Callable[[list[str]], torch.Tensor]
    count: Callable[[list[str]], list[int]]
    token_embedding: torch.nn.Module
    logit_scale: float


@contextmanager
def replaced_output(module: torch.nn.Module, output: torch.Tensor) -> Iterator[None]:
    """Make ``module`` return ``output`` whatever it is given, so that a gradient reaches what ``output`` is made of."""
    handle = module.register_forward_hook(lambda *_: output)
    try:
        yield
    finally:
        handle.remove()
