"""Opens a CLIP (Radford et al. 2021): images and texts to unit vectors whose cosine says how well they fit.

Two formats: the folder of a transformers ``CLIPModel``, which has a vision transformer, and that of open_clip,
in which OpenAI's ResNets are published. The latter needs the extra ``openclip``. Weights are read from
safetensors only, never from a pickle. Whichever library opens them, :class:`Clip` is used the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from ...errors import BenchError, MissingError
from ...plugins.images import batches
from ..opening import quiet, unread
from .layout import ClipLayout, check_clip, refuse_long_texts, weight_files
from .pixels import preprocess

if TYPE_CHECKING:
    from pathlib import Path

_TEXT_BATCH = 64


class Clip:
    """A CLIP that is ready to encode; see :func:`open_clip_model`. No weight takes a gradient; those of inputs pass.

    Attributes:
        name: the foundation as the user named it.
        width: length of an embedding.
        resolution: side in px at which the image tower sees images.
        positions: tokens of a text at most; longer texts are cut, the end marker stays.
        logit_scale: what cosines are multiplied by before a softmax; 100 in OpenAI's models.
        preprocessing: what images are brought to.
        device: where the towers lie.
        token_embedding: the first layer of the text tower, ids to rows; positions are added after it.
    """

    token_embedding: torch.nn.Module
    # What the class of a format brings. Pixels (N, 3, S, S) and token ids (N, positions) to embeddings (N, width), not
    # normalised; texts to ids, where one that is too long is cut before its end marker, and to their numbers of
    # tokens with the two markers, uncut.
    _image_tower: Callable[[torch.Tensor], torch.Tensor]
    _text_tower: Callable[[torch.Tensor], torch.Tensor]
    _tokenize: Callable[[list[str]], torch.Tensor]
    _count: Callable[[list[str]], list[int]]

    def __init__(self, layout: ClipLayout, model: Any, device: str, precision: str) -> None:
        """Take a network that was opened, in fp32 whatever its weights are stored in."""
        self.name, self.width, self.resolution = layout.name, layout.width, layout.resolution
        self.positions, self.preprocessing = layout.positions, layout.preprocessing
        self.device, self._precision = device, precision
        self._model = model.float().to(device).eval().requires_grad_(False)
        self.logit_scale = float(model.logit_scale.exp())

    def encode_images(self, images: NDArray[np.uint8], batch: int = 64) -> NDArray[np.float32]:
        """Return unit rows, float32 ``(N, width)``.

        Args:
            images: uint8 RGB ``(N, H, W, 3)`` of any size.
            batch: images at a time; changes nothing but memory, speed and the last bits of the sums.

        Raises:
            BenchError: an embedding is not finite, so the weights are damaged.
        """
        pieces = (images[part.start : part.stop] for part in batches(len(images), batch))
        return self._encode(self._image_tower, (preprocess(piece, self.preprocessing) for piece in pieces))

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, float32 ``(N, width)``; a text that is too long is cut before the end marker.

        Raises:
            BenchError: an embedding is not finite, so the weights are damaged.
        """
        pieces = (list(texts[part.start : part.stop]) for part in batches(len(texts), _TEXT_BATCH))
        return self._encode(self._text_tower, (self._tokenize(piece) for piece in pieces))

    def image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return embeddings that are not normalised, float32 ``(B, width)`` on the device, without a gradient.

        Args:
            pixels: float32 ``(B, 3, resolution, resolution)`` on the device, normalised as ``preprocessing`` says.

        Raises:
            BenchError: an embedding is not finite, so the weights are damaged.
        """
        with torch.no_grad(), self._mixed():
            return self._finite(self._image_tower(pixels).float())

    def tokens(self, texts: Sequence[str], reserved: int = 0) -> torch.Tensor:
        """Return token ids, int64 ``(N, positions)`` on the CPU: start marker, text, end marker, padding.

        Args:
            texts: N of them.
            reserved: tokens that each text must leave free.

        Raises:
            UsageError: a text is too long, and would be cut; the first one is named.
        """
        listed = list(texts)
        refuse_long_texts(self.name, self.positions, listed, self._count(listed), reserved)
        return self._tokenize(listed)

    def token_counts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return how many of ids ``(N, positions)`` are a text with its two markers, int64 ``(N,)``."""
        end = self._tokenize([""])[0, 1]
        return (tokens == end).to(torch.uint8).argmax(dim=1) + 1

    def token_embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what the text tower reads for ids ``(N, L)``, float32 ``(N, L, D)`` on the device, no gradient."""
        with torch.no_grad():
            rows: torch.Tensor = self.token_embedding(tokens.to(self.device))
        return rows.float()

    def text_features(self, tokens: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Return embeddings of texts, float32 ``(N, width)``, not normalised, through which gradients pass.

        Args:
            tokens: ids ``(N, positions)``, which say where each text ends.
            embeddings: float32 ``(N, positions, D)`` on the device, read in place of the tokens' own.
        """
        with self.token_embedding.register_forward_hook(lambda *_: embeddings), self._mixed():
            return self._text_tower(tokens.to(self.device)).float()

    def _mixed(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self._precision == "bf16")

    def _encode(
        self, tower: Callable[[torch.Tensor], torch.Tensor], inputs: Iterator[torch.Tensor]
    ) -> NDArray[np.float32]:
        rows = [np.zeros((0, self.width), np.float32)]
        for item in inputs:
            with torch.inference_mode(), self._mixed():
                embeddings = tower(item.to(self.device)).float()
            rows.append(self._finite(F.normalize(embeddings)).cpu().numpy())
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
    kind = _OpenClip if layout.library == "open_clip" else _TransformersClip
    return kind(layout, device, precision)


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


class _TransformersClip(Clip):
    """A transformers ``CLIPModel``."""

    def __init__(self, layout: ClipLayout, device: str, precision: str) -> None:
        from transformers import AutoTokenizer, CLIPModel

        with quiet(layout.name, "the weights", weight_files(layout)):
            model, report = CLIPModel.from_pretrained(
                str(layout.folder), use_safetensors=True, local_files_only=True, output_loading_info=True
            )
        check_keys(layout.name, report.get("missing_keys", ()), report.get("unexpected_keys", ()))
        with quiet(layout.name, "the tokenizer"):
            self._tokenizer = AutoTokenizer.from_pretrained(str(layout.folder), local_files_only=True)
        self.token_embedding = model.text_model.embeddings.token_embedding
        known = model.text_model.embeddings.token_embedding.num_embeddings
        if len(self._tokenizer) > known:
            raise BenchError(
                f"{layout.name}: the tokenizer has {len(self._tokenizer)} tokens, the model knows {known}; "
                "they belong to different models"
            )
        super().__init__(layout, model, device, precision)

    # The towers and projections by themselves: what `get_image_features` returns differs between releases.
    def _image_tower(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._model.visual_projection(self._model.vision_model(pixel_values=pixels).pooler_output)

    def _text_tower(self, ids: torch.Tensor) -> torch.Tensor:
        return self._model.text_projection(self._model.text_model(input_ids=ids).pooler_output)

    def _tokenize(self, texts: list[str]) -> torch.Tensor:
        # Padding follows the end marker, where causal attention does not look; so no mask is needed.
        return self._tokenizer(
            texts, padding="max_length", max_length=self.positions, truncation=True, return_tensors="pt"
        )["input_ids"]

    def _count(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self._tokenizer(texts, verbose=False)["input_ids"]]


# Old checkpoints hold these buffers, which are nothing but 0, 1, 2, ...
_HARMLESS = "position_ids"


def check_keys(name: str, missing: Any, unexpected: Any) -> None:
    """Compare what a file holds with what a network has.

    Raises:
        BenchError: they differ; names the first weight.
    """
    lacking = sorted(missing)
    surplus = sorted(key for key in unexpected if not key.endswith(_HARMLESS))
    if lacking or surplus:
        parts = [f"lack {len(lacking)} that the configuration asks for (first: {lacking[0]})"] if lacking else []
        parts += [f"hold {len(surplus)} that it has no place for (first: {surplus[0]})"] if surplus else []
        raise BenchError(f"{name}: the weights {' and '.join(parts)}; fetch the folder again")


# What OpenAI's own files hold besides weights.
_FACTS = ("input_resolution", "context_length", "vocab_size")


class _OpenClip(Clip):
    """A CLIP in open_clip's format, such as OpenAI's ResNets."""

    def __init__(self, layout: ClipLayout, device: str, precision: str) -> None:
        try:
            from open_clip import SimpleTokenizer
            from open_clip.model import CLIP, CustomTextCLIP
        except ImportError:
            raise MissingError(
                f"{layout.name}: a model in open_clip's format, and open_clip is not installed; "
                "run `pip install 'benchbench[openclip]'`"
            ) from None
        config = dict(layout.config)
        build = CustomTextCLIP if config.pop("custom_text", False) else CLIP
        try:
            model = build(**config)
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise BenchError(
                f"{layout.name}: open_clip does not build what open_clip_config.json describes "
                f"({(str(error).splitlines() or ['no reason given'])[0]}); a newer open_clip may"
            ) from None
        _fill(model, layout)
        text = layout.config.get("text_cfg") or {}
        self._tokenizer = SimpleTokenizer(context_length=layout.positions, **(text.get("tokenizer_kwargs") or {}))
        self.token_embedding = (model.text if build is CustomTextCLIP else model).token_embedding
        self._image_tower, self._text_tower, self._tokenize = model.encode_image, model.encode_text, self._tokenizer
        super().__init__(layout, model, device, precision)

    def _count(self, texts: list[str]) -> list[int]:
        return [len(self._tokenizer.encode(text)) + 2 for text in texts]


def _fill(model: torch.nn.Module, layout: ClipLayout) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(layout):
        try:
            weights |= load_file(file)
        except (SafetensorError, OSError) as error:
            why = unread(error) or "truncated, or no safetensors file"
            raise BenchError(f"{layout.name}: {file.name} cannot be opened ({why}); fetch the folder again") from None
    for fact in _FACTS:
        weights.pop(fact, None)
    try:
        report = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        lines = str(error).splitlines()
        why = lines[min(1, len(lines) - 1)].strip()
        raise BenchError(f"{layout.name}: the weights do not fit the configuration ({why}); fetch it again") from None
    check_keys(layout.name, report.missing_keys, report.unexpected_keys)
