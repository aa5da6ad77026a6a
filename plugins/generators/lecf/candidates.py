"""The costly half of LECF (He et al. 2023): sentences about each class, an image of each, and its CLIP scores.

Candidates are numbered class by class, so that a shard of consecutive ones needs the sentences of few classes. An
image depends on its sentence, its seed and the settings alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchbench.files import write_atomic
from benchbench.models.clip.model import Clip, class_probabilities, open_clip_model
from benchbench.models.prompts import class_prompts
from benchbench.models.resize import resized
from benchbench.plugins.context import Context, derive_seed
from benchbench.plugins.images import ImageSet, batches, merge_shards

from .language import LanguageModel, class_frames, open_language_model

if TYPE_CHECKING:
    from benchbench.models.diffusion.sampling import TextToImage

    from . import LECF

#: Candidates between two savings, and images that the CLIP sees at once. Fixed, so that a run continues under any
#: ``sample_batch``, and since sums in floating point depend on it.
CHUNK = 50
PROBABILITIES = "probabilities.npy"


@dataclass(frozen=True)
class Candidate:
    """One image to make.

    Attributes:
        number: among all candidates, from 0.
        label: its class.
        prompt: the text that the image is made from.
        seed: of its latents, and of the noise of its scheduler.
    """

    number: int
    label: int
    prompt: str
    seed: int


def make_candidates(context: Context, settings: LECF, total: int) -> None:
    """Make the candidates ``context.shard`` of ``total`` and write them into ``context.folder``.

    The folder holds an ``ImageSet`` at the dataset's resolution, ``probabilities.npy`` (float32 ``(n, C)``, the
    softmax over all classes; not without a ``clip``) and ``sentences.json``: the sentences of each class by its label.
    """
    sentences = _sentences(context, settings, total)
    plan = plan_candidates(context, settings, total, sentences)
    chunks = [plan[part.start : part.stop] for part in batches(len(plan), CHUNK)]
    make = _Maker(context, settings).chunk
    folders = context.resume_parts(chunks, make, label="generating", unit="chunk")
    merge_shards(folders, context.folder)
    if settings.clip is not None:
        rows = [np.load(folder / PROBABILITIES, allow_pickle=False) for folder in folders]
        np.save(context.folder / PROBABILITIES, np.concatenate(rows), allow_pickle=False)
    text = json.dumps(sentences, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomic(context.folder / "sentences.json", text + "\n")


def class_of(number: int, total: int, classes: int) -> int:
    """Return the class of candidate ``number``: consecutive blocks whose sizes differ by at most one."""
    return number * classes // total


def plan_candidates(context: Context, settings: LECF, total: int, sentences: dict[str, list[str]]) -> list[Candidate]:
    """Return the shard's candidates: inside a class the sentences take turns."""
    count = len(context.info.classes)
    frames = class_frames(context.info, settings.template)
    plan = []
    for number in context.shard:
        label = class_of(number, total, count)
        place = number - -(-label * total // count)  # counted from the first candidate of its class
        own = sentences[str(label)]
        prompt = frames[label].prompt(own[place % len(own)])
        plan.append(Candidate(number, label, prompt, derive_seed(context.seed, "candidate", number)))
    return plan


def _sentences(context: Context, settings: LECF, total: int) -> dict[str, list[str]]:
    """Return the sentences of every class in the shard; the concept itself without a language model."""
    count = len(context.info.classes)
    first, last = (class_of(number, total, count) for number in (context.shard[0], context.shard[-1]))
    frames = class_frames(context.info, settings.template)
    sentences: dict[str, list[str]] = {}
    language: LanguageModel | None = None
    for label in context.resume(range(first, last + 1), sentences, label="writing", unit="class"):
        concept = frames[label].concept
        own: list[str] = []
        if settings.language_model is not None:
            if language is None:
                folder = context.foundation(settings.language_model)
                language = open_language_model(folder, settings.language_model, device=context.device)
            own = language.sentences(
                concept,
                settings.num_sentences,
                derive_seed(context.seed, "sentences"),
                max_new_tokens=settings.max_new_tokens,
                top_k=settings.top_k,
            )
            if len(own) < settings.num_sentences:
                context.log(
                    f"lecf: {len(own)} different sentences about '{concept}', repeated, "
                    f"where {settings.num_sentences} were asked for (num_sentences)"
                )
        sentences[str(label)] = own or [concept]
    return sentences


class _Maker:
    """The text-to-image model and the CLIP, opened once for a shard and not before they are needed."""

    def __init__(self, context: Context, settings: LECF) -> None:
        self._settings, self._context = settings, context

    @cached_property
    def _images(self) -> TextToImage:
        return self._settings.open(self._context)

    @cached_property
    def _clip(self) -> Clip:
        name = str(self._settings.clip)
        return open_clip_model(self._context.foundation(name), name, device=self._context.device)

    def chunk(self, candidates: Sequence[Candidate], folder: Path) -> None:
        """Make and score candidates and write them into ``folder``."""
        info = self._context.info
        size = self._settings.sample_batch
        origins = [self._origin(item) for item in candidates]
        starts = range(0, len(origins), size)
        parts = [self._settings.images(self._images, origins[start : start + size]) for start in starts]
        images = resized(np.concatenate(parts), info.resolution, self._settings.interpolation)
        labels = np.array([item.label for item in candidates], np.int64)
        ImageSet(images, labels, info.classes, origins).save(folder)
        if self._settings.clip is not None:
            prompts = class_prompts(info, self._settings.template)
            table = class_probabilities(self._clip, images, prompts, batch=CHUNK)
            np.save(folder / PROBABILITIES, table, allow_pickle=False)

    def _origin(self, item: Candidate) -> dict[str, Any]:
        return {
            "candidate": item.number,
            "prompt": item.prompt,
            "seed": item.seed,
            "guidance_scale": self._settings.guidance_scale,
        }
