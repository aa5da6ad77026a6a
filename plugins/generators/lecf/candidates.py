"""The costly half of LECF (He et al. 2023): sentences about each class, an image of each, and its CLIP scores.

Candidates are numbered class by class, so that a shard of consecutive ones needs the sentences of few classes. An
image depends on its sentence, its seed and the settings alone.

Sentences about a concept: prompts around them, and the language model that writes them, opened and checked.

Language enhancement (He et al. 2023, "Is synthetic data from generative models ready for image recognition?",
section 3.1): the class name goes in, and sentences drawn by top-k sampling come out. They use T5-base fine-tuned on
CommonGen through keytotext, whose arguments leave top-k 50 and 20 new tokens; so do the defaults here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchbench.errors import BenchError, UsageError
from benchbench.files import write_atomic
from benchbench.models.clip.model import Clip, class_probabilities, open_clip_model
from benchbench.models.opening import refuses_odd_values
from benchbench.models.prompts import class_prompts
from benchbench.models.resize import resized
from benchbench.plugins.context import Context, derive_seed
from benchbench.plugins.images import ImageSet, batches, merge_shards

if TYPE_CHECKING:
    from benchbench.models.diffusion.sampling import TextToImage
    from benchbench.plugins import DatasetInfo

    from . import LECF


#: Candidates between two savings, and images that the CLIP sees at once. Fixed, so that a run continues under any
#: ``sample_batch``, and since sums in floating point depend on it.
CHUNK = 50
PROBABILITIES = "probabilities.npy"


def make_candidates(context: Context, settings: LECF, total: int) -> None:
    """Make the candidates ``context.shard`` of ``total`` and write them into ``context.folder``.

    The folder holds an ``ImageSet`` at the dataset's resolution, ``probabilities.npy`` (float32 ``(n, C)``, the
    softmax over all classes; not without a ``clip``) and ``sentences.json``: the sentences of each class by its label.
    """
    info, size, count = context.info, settings.at_once(), len(context.info.classes)
    frames = class_frames(info, settings.template)
    labels = [class_of(number, total, count) for number in context.shard]
    sentences = _sentences(context, settings, {label: frames[label].concept for label in labels})
    origins = []
    for number, label in zip(context.shard, labels, strict=True):
        place = number - -(-label * total // count)  # counted from the first candidate of its class
        own = sentences[str(label)]  # they take turns
        origins.append(
            {
                "candidate": number,
                "prompt": frames[label].prompt(own[place % len(own)]),
                "seed": derive_seed(context.seed, "candidate", number),  # of the latents and of the scheduler's noise
                "guidance_scale": settings.guidance_scale,
            }
        )

    @cache
    def models() -> tuple[TextToImage, Clip | None]:
        name = settings.clip
        clip = open_clip_model(context.foundation(name), name, device=context.device) if name else None
        return settings.open(context), clip

    def make(chunk: range, folder: Path) -> None:
        model, clip = models()
        starts = range(chunk.start, chunk.stop, size)
        parts = [settings.images(model, origins[start : min(start + size, chunk.stop)]) for start in starts]
        images = resized(np.concatenate(parts), info.resolution, settings.interpolation)
        rows = slice(chunk.start, chunk.stop)
        ImageSet(images, np.array(labels[rows], np.int64), info.classes, origins[rows]).save(folder)
        if clip is not None:
            table = class_probabilities(clip, images, class_prompts(info, settings.template), batch=CHUNK)
            np.save(folder / PROBABILITIES, table, allow_pickle=False)

    chunks = list(batches(len(origins), CHUNK))
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


def _sentences(context: Context, settings: LECF, concepts: dict[int, str]) -> dict[str, list[str]]:
    """Return the sentences of every class in the shard; the concept itself without a language model."""
    sentences: dict[str, list[str]] = {}
    language: LanguageModel | None = None
    for label, concept in context.resume(concepts.items(), sentences, label="writing", unit="class"):
        own: list[str] = []
        if settings.language_model is not None:
            if language is None:
                folder = context.foundation(settings.language_model)
                language = open_language_model(folder, settings.language_model)
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


#: Sentences that are drawn at once. Fixed, since the random numbers of a sentence depend on it.
BATCH = 50
#: Draws per sentence asked for, after which one takes what is there. He et al. draw 1.25 and fail on fewer.
_MOST_DRAWS = 5
#: Batches in a row without a new sentence, after which no more are tried.
_PATIENCE = 3
#: Any of these makes a tokenizer; the last two need the package sentencepiece.
TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")
#: Architectures whose configuration may leave out ``is_encoder_decoder``, which is their default.
_SEQUENCE_TO_SEQUENCE = frozenset({"bart", "fsmt", "longt5", "marian", "mbart", "mt5", "pegasus", "t5", "umt5"})
_WORD = re.compile(r"\w+|[^\w\s]+")


class Frame(NamedTuple):
    """A template filled with one class and taken apart around the words for what is seen.

    Attributes:
        opening: ``"a photo of "``.
        concept: ``"the digit seven"``.
        ending: the words after it, without a full stop: ``""``.
    """

    opening: str
    concept: str
    ending: str

    def prompt(self, sentence: str) -> str:
        """Return the frame around a sentence in place of the concept, without a full stop, as He et al. write it."""
        words = sentence.strip().rstrip(" .!")
        first, _, _ = words.partition(" ")
        if first in ("A", "An", "The"):
            words = first.lower() + words[len(first) :]
        return f"{self.opening}{words}{self.ending}"


def class_frames(info: DatasetInfo, template: str | None) -> list[Frame]:
    """Return the frame of each class, in label order.

    What stands before the first " of " is the opening, and words between it and the class belong to the concept:
    "a photo of the digit {}." has the concept "the digit seven". A template without " of " opens with all that
    stands before the class.

    Args:
        info: the dataset; without ``prompt_names`` its class names are used.
        template: in place of the dataset's.
    """
    before, _, after = (template or info.prompt).partition("{}")
    opening, of, kind = before.partition(" of ")
    opening, kind = (opening + of, kind) if of else (before, "")
    return [Frame(opening, f"{kind}{name}", after.rstrip(" .!")) for name in info.prompt_names or info.classes]


class LanguageModel:
    """A frozen sequence-to-sequence model with its tokenizer; see :func:`open_language_model`."""

    def __init__(self, model: Any, tokenizer: Any, folder: Path, name: str) -> None:
        self.name = name
        self._model, self._tokenizer, self._folder = model, tokenizer, folder

    def sentences(self, concept: str, n: int, seed: int, *, max_new_tokens: int = 20, top_k: int = 50) -> list[str]:
        """Return up to ``n`` different sentences about ``concept``, in the order they were drawn.

        They depend on the model, the concept, the seed and the settings alone: a larger ``n`` gives the same
        sentences and more. No global random state is changed. Draws are capped at five for each sentence asked
        for, and end early when three batches of 50 brought nothing new.

        Args:
            concept: the model's input: ``"a forest"``.
            n: how many, from 1.
            seed: of the draws.
            max_new_tokens: length limit of a sentence, in tokens.
            top_k: tokens to draw from at each place, the likeliest ones; 0 draws from all.

        Raises:
            UsageError: the model's vocabulary has not every word of ``concept``.
            BenchError: the model's output is not finite.
        """
        import torch

        check_concepts(self._folder, self.name, [concept])
        tokens = self._tokenizer(concept, return_tensors="pt")
        sentences: dict[str, None] = {}
        idle = 0
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.default_generator.manual_seed(derive_seed("sentences", concept, seed))
            for _ in range(-(-_MOST_DRAWS * n // BATCH)):
                before = len(sentences)
                sentences.update(dict.fromkeys(self._draw(tokens, max_new_tokens, top_k)))
                idle = 0 if len(sentences) > before else idle + 1
                if len(sentences) >= n or idle == _PATIENCE:
                    break
        return list(sentences)[:n]

    def _draw(self, tokens: Any, max_new_tokens: int, top_k: int) -> list[str]:
        """Draw one batch of sentences, spaces made single, empty ones left out."""
        import torch

        try:
            # Everything that decides the draws is set here: a folder's own generation_config may ask for beams.
            drawn = self._model.generate(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                do_sample=True,
                num_beams=1,
                temperature=1.0,
                top_p=1.0,
                top_k=top_k,
                repetition_penalty=1.0,
                no_repeat_ngram_size=0,
                max_new_tokens=max_new_tokens,
                min_length=0,
                num_return_sequences=BATCH,
            )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # torch refuses to draw from probabilities that are not finite
            if "probability tensor" not in str(error):
                raise
            raise BenchError(
                f"{self.name}: gave token probabilities that are not finite (NaN or infinite); its weights are at "
                "fault, fetch the folder again"
            ) from None
        texts = self._tokenizer.batch_decode(drawn.cpu(), skip_special_tokens=True)
        return [sentence for text in texts if (sentence := " ".join(text.split()))]


def open_language_model(folder: Path, name: str) -> LanguageModel:
    """Open a folder in the transformers format, such as ``mrm8488/t5-base-finetuned-common_gen``, in fp32 on the CPU.

    An accelerator would draw other sentences from the same seed, and saves seconds of hours.

    Args:
        folder: with ``config.json``, a tokenizer and safetensors.
        name: how the user named it, the start of messages.

    Raises:
        UsageError: no sequence-to-sequence model, no tokenizer, or only pickled weights.
        BenchError: weights that are truncated or incomplete, or a tokenizer that cannot be opened.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from benchbench.models.opening import open_part, quiet

    check_language_folder(folder, name)
    model = open_part(AutoModelForSeq2SeqLM.from_pretrained, folder, "", name)
    with quiet(name, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return LanguageModel(model.float().requires_grad_(False).eval(), tokenizer, folder, name)


@refuses_odd_values
def check_language_folder(folder: Path, name: str) -> None:
    """Check configuration, tokenizer and weights of a language model's folder by their names and JSON.

    Args:
        folder: where the model lies.
        name: how the user named it, the start of messages.

    Raises:
        UsageError: not a sequence-to-sequence model in the transformers format, no tokenizer, or no safetensors.
    """
    config = _read(folder / "config.json", name)
    kind = str(config.get("model_type", "unknown"))
    if not config.get("is_encoder_decoder", kind in _SEQUENCE_TO_SEQUENCE):
        raise UsageError(
            f"{name}: no sequence-to-sequence language model (config.json says model_type {kind}); "
            "give a T5 or the like, which takes a concept and writes a sentence"
        )
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise UsageError(f"{name}: has no tokenizer ({', '.join(TOKENIZERS)}); fetch the folder again")
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")):
            raise UsageError(
                f"{name}: has only pickled weights (*.bin), which can run code and are not opened; save it again "
                "with transformers' save_pretrained, which writes model.safetensors"
            )
        raise UsageError(f"{name}: has no weights (model.safetensors); fetch the folder again")


@refuses_odd_values
def check_concepts(folder: Path, name: str, concepts: Iterable[str]) -> None:
    """Refuse concepts with a word that the tokenizer has no token for; only a word-level one can lack any.

    Args:
        folder: where the model lies.
        name: how the user named it, the start of messages.
        concepts: the concepts that sentences are wanted about.

    Raises:
        UsageError: a word is not known, or ``tokenizer.json`` is there and is not JSON.
    """
    path = folder / "tokenizer.json"
    model = _read(path, name).get("model") or {} if path.is_file() else {}
    if model.get("type") != "WordLevel":
        return
    known = model.get("vocab", {})
    for concept in concepts:
        unknown = [word for word in _WORD.findall(concept.lower()) if word not in known]
        if unknown:
            raise UsageError(
                f"{name}: does not know {', '.join(map(repr, unknown))} of '{concept}'; take another language model, "
                "such as mrm8488/t5-base-finetuned-common_gen, or none for plain class names"
            )


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{name}: no language model in the transformers format ({path.name} is missing); "
            "give a folder with config.json, a tokenizer and model.safetensors"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {path.name} cannot be read ({error}); fetch the folder again") from None
    if not isinstance(content, dict):
        raise UsageError(f"{name}: {path.name} does not hold a JSON object; fetch the folder again")
    return content
