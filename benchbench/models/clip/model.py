"""Opens a CLIP (Radford et al. 2021): images and texts to unit vectors whose cosine says how well they fit.

Two formats: the folder of a transformers ``CLIPModel``, which has a vision transformer, and that of open_clip,
in which OpenAI's ResNets are published. The latter needs the extra ``openclip``. Weights are read from
safetensors only, never from a pickle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import BenchError
from .layout import ClipLayout, check_clip, clip_identity, refuse_long_texts
from .pixels import preprocess
from .towers import Encode, Towers, open_open_clip, open_transformers, replaced_output

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Clip", "check_clip", "class_probabilities", "clip_identity", "open_clip_model"]

_TEXT_BATCH = 64


class Clip:
    """A CLIP that is ready to encode; see :func:`open_clip_model`.

    Attributes:
        name: the foundation as the user named it.
        width: length of an embedding.
        resolution: side in px at which the image tower sees images.
        positions: tokens of a text at most; longer texts are cut, the end marker stays.
        logit_scale: what cosines are multiplied by before a softmax; 100 in OpenAI's models.
        preprocessing: what images are brought to.
        device: where the towers lie.
    """

    def __init__(self, layout: ClipLayout, towers: Towers, device: str, precision: str) -> None:
        """Take the parts that :func:`open_clip_model` opened.

        Args:
            layout: the facts about the folder.
            towers: what encodes.
            device: where the towers lie.
            precision: ``"fp32"`` or ``"bf16"``.
        """
        self.name, self.width, self.resolution = layout.name, layout.width, layout.resolution
        self.positions, self.logit_scale = layout.positions, towers.logit_scale
        self.preprocessing, self.device = layout.preprocessing, device
        self._towers, self._precision = towers, precision

    def encode_images(self, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """Return unit rows, float32 ``(N, width)``.

        Args:
            images: uint8 RGB ``(N, H, W, 3)`` of any size.
            batch: images at a time; changes nothing but memory, speed and the last bits of the sums.

        Raises:
            BenchError: an embedding is not finite, so the weights are damaged.
        """
        pieces = (images[rows] for rows in _slices(len(images), batch))
        return self._encode(self._towers.image, (preprocess(piece, self.preprocessing) for piece in pieces))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, float32 ``(N, width)``; a text that is too long is cut before the end marker.

        Raises:
            BenchError: an embedding is not finite, so the weights are damaged.
        """
        listed = list(texts)
        return self._encode(
            self._towers.text, (self._towers.tokenize(listed[rows]) for rows in _slices(len(listed), _TEXT_BATCH))
        )

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return embeddings that are not normalised, float32 ``(B, width)`` on the device, without a gradient.

        Args:
            pixels: float32 ``(B, 3, resolution, resolution)`` on the device, normalised as ``preprocessing`` says.

        Raises:
            BenchError: an embedding is not finite, so the weights are damaged.
        """
        with torch.no_grad(), self._mixed():
            found = self._towers.image(pixels).float()
        return self._finite(found)

    def tokens(self, texts: Sequence[str], reserved: int = 0) -> torch.Tensor:
        """Return token ids, int64 ``(N, positions)`` on the CPU: start marker, text, end marker, padding.

        Args:
            texts: N of them.
            reserved: tokens that each text must leave free.

        Raises:
            UsageError: a text is too long, and would be cut; the first one is named.
        """
        listed = list(texts)
        refuse_long_texts(self.name, self.positions, listed, self._towers.count(listed), reserved)
        return self._towers.tokenize(listed)

    def token_counts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return how many of ids ``(N, positions)`` are a text with its two markers, int64 ``(N,)``."""
        end = self._towers.tokenize([""])[0, 1]
        return (tokens == end).to(torch.uint8).argmax(dim=1) + 1

    def token_embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what the text tower reads for ids ``(N, L)``, float32 ``(N, L, D)`` on the device, no gradient."""
        with torch.no_grad():
            found: torch.Tensor = self._towers.token_embedding(tokens.to(self.device))
        return found.float()

    def text_features(self, tokens: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Return embeddings of texts, float32 ``(N, width)``, not normalised, through which gradients pass.

        Args:
            tokens: ids ``(N, positions)``, which say where each text ends.
            embeddings: float32 ``(N, positions, D)`` on the device, read in place of the tokens' own.
        """
        with replaced_output(self._towers.token_embedding, embeddings), self._mixed():
            return self._towers.text(tokens.to(self.device)).float()

    def _mixed(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device, torch.bfloat16) if self._precision == "bf16" else nullcontext()

    def _encode(self, tower: Encode, inputs: Iterator[torch.Tensor]) -> NDArray[np.float32]:
        rows = [np.zeros((0, self.width), np.float32)]
        for item in inputs:
            with torch.inference_mode(), self._mixed():
                found = tower(item.to(self.device)).float()
            unit = found / found.norm(dim=1, keepdim=True).clamp_min(1e-12)
            rows.append(self._finite(unit).cpu().numpy())
        return np.concatenate(rows)

    def _finite(self, rows: torch.Tensor) -> torch.Tensor:
        if not bool(torch.isfinite(rows).all()):
            raise BenchError(f"{self.name}: gave embeddings that are not finite; fetch the folder again")
        return rows


def open_clip_model(folder: Path, name: str, *, device: str = "cpu", precision: str = "fp32") -> Clip:
    """Open the CLIP in a folder, in fp32 whatever its weights are stored in.

    Args:
        folder: of a transformers ``CLIPModel`` with tokenizer and ``preprocessor_config.json``, or with
            ``open_clip_config.json`` and ``open_clip_model.safetensors``.
        name: how the user named it, the subject of messages.
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"bf16"`` for mixed precision.

    Raises:
        UsageError: what :func:`check_clip` refuses.
        MissingError: an open_clip folder, and open_clip is not installed.
        BenchError: weights that are truncated or that do not fit the configuration.
    """
    layout = check_clip(folder, name)
    open_towers = open_open_clip if layout.library == "open_clip" else open_transformers
    return Clip(layout, open_towers(layout, device), device, precision)


def class_probabilities(
    clip: Clip, images: NDArray[np.uint8], prompts: Sequence[str], batch: int = 64
) -> NDArray[np.float32]:
    """Return the probability of each prompt for each image, float32 ``(N, C)``.

    It is the softmax over the prompts of ``logit_scale`` times the cosine (Radford et al. 2021, section 3.1.2).

    Args:
        clip: an opened CLIP.
        images: uint8 ``(N, H, W, 3)``.
        prompts: C texts, one for each class.
        batch: images at a time.
    """
    logits = clip.logit_scale * (clip.encode_images(images, batch).astype(np.float64) @ clip.encode_texts(prompts).T)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))
