"""The costly half of LECF (He et al. 2023): sentences about each class, an image of each, and its CLIP scores.

Candidates are numbered class by class, so that a shard of consecutive ones needs the sentences of few classes. An
image depends on its sentence, its seed and the settings alone, and a killed run continues behind its last chunk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchbench.files import one_step_folder, write_atomic
from benchbench.models.prompts import class_prompts
from benchbench.models.resize import resized
from benchbench.plugins.context import Context, derive_seed
from benchbench.plugins.images import ImageSet, batches, merge_shards

from .._prompts import Frame, class_frames
from .._scoring import Scorer
from .language import open_language_model

if TYPE_CHECKING:
    from .plugin import LECF

#: Candidates between two savings. Fixed, so that a run continues under any ``sample_batch``.
CHUNK = 50
PROBABILITIES = "probabilities.npy"
SENTENCES = "sentences.json"


@dataclass(frozen=True)
class Candidate:
    """One image to make.

    Attributes:
        number: among all candidates, from 0.
        label: its class.
        prompt: what it is made of.
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
    maker: _Maker | None = None
    folders = []
    for chunk in context.progress(list(batches(len(plan), CHUNK)), label="generating", unit="chunk"):
        folder = context.scratch / f"chunk-{chunk.start:07d}"
        folders.append(folder)
        if folder.is_dir():
            continue
        maker = maker or _Maker(context, settings)
        maker.chunk(plan[chunk.start : chunk.stop], folder)
    merge_shards(folders, context.folder)
    if settings.clip is not None:
        rows = [np.load(folder / PROBABILITIES, allow_pickle=False) for folder in folders]
        np.save(context.folder / PROBABILITIES, np.concatenate(rows), allow_pickle=False)
    _write_json(context.folder / SENTENCES, sentences)


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
        place = number - -(-label * total // count)  # behind the first candidate of its class
        own = sentences[str(label)]
        prompt = frames[label].prompt(own[place % len(own)])
        plan.append(Candidate(number, label, prompt, derive_seed(context.seed, "candidate", number)))
    return plan


def _sentences(context: Context, settings: LECF, total: int) -> dict[str, list[str]]:
    """Return the sentences of every class in the shard; the concept itself without a language model."""
    kept = context.scratch / SENTENCES
    if kept.exists():
        found: dict[str, list[str]] = json.loads(kept.read_text("utf-8"))
        return found
    count = len(context.info.classes)
    labels = sorted({class_of(number, total, count) for number in (context.shard[0], context.shard[-1])})
    frames = class_frames(context.info, settings.template)
    wanted = {label: frames[label] for label in range(labels[0], labels[-1] + 1)}
    found = {str(label): own for label, own in _written(context, settings, wanted).items()}
    _write_json(kept, found)
    return found


def _written(context: Context, settings: LECF, frames: dict[int, Frame]) -> dict[int, list[str]]:
    if settings.language_model is None:
        return {label: [frame.concept] for label, frame in frames.items()}
    folder = context.foundation(settings.language_model)
    language = open_language_model(folder, settings.language_model, device=context.device)
    found = {}
    for label, frame in frames.items():
        own = language.sentences(
            frame.concept,
            settings.num_sentences,
            derive_seed(context.seed, "sentences"),
            max_new_tokens=settings.max_new_tokens,
            top_k=settings.top_k,
        )
        if len(own) < settings.num_sentences:
            context.log(
                f"lecf: {len(own)} different sentences about '{frame.concept}', repeated, "
                f"where {settings.num_sentences} were asked for (num_sentences)"
            )
        found[label] = own or [frame.concept]
    return found


class _Maker:
    """The text-to-image model and the CLIP, opened once for a shard."""

    def __init__(self, context: Context, settings: LECF) -> None:
        self._settings, self._context = settings, context
        self._images = settings.open(context)
        self._scorer: Scorer | None = None
        if settings.clip is not None:
            prompts = class_prompts(context.info, settings.template)
            self._scorer = Scorer(context.foundation(settings.clip), settings.clip, prompts, context.device)

    def chunk(self, candidates: Sequence[Candidate], folder: Path) -> None:
        """Make and score candidates and write them; ``folder`` is there when all of it is."""
        info = self._context.info
        size = self._settings.sample_batch
        origins = [self._origin(item) for item in candidates]
        starts = range(0, len(origins), size)
        parts = [self._settings.images(self._images, origins[start : start + size]) for start in starts]
        images = resized(np.concatenate(parts), info.resolution, self._settings.interpolation)
        labels = np.array([item.label for item in candidates], np.int64)
        with one_step_folder(folder) as draft:
            ImageSet(images, labels, info.classes, origins).save(draft)
            if self._scorer is not None:
                np.save(draft / PROBABILITIES, self._scorer.probabilities(images), allow_pickle=False)

    def _origin(self, item: Candidate) -> dict[str, Any]:
        return {
            "candidate": item.number,
            "prompt": item.prompt,
            "seed": item.seed,
            "guidance_scale": self._settings.guidance_scale,
        }


def _write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
