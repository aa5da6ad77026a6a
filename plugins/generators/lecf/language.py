"""Opens a sequence-to-sequence language model and has it write sentences about a concept.

Language enhancement (He et al. 2023, "Is synthetic data from generative models ready for image recognition?",
section 3.1): the class name goes in, and sentences drawn by top-k sampling come out. They use T5-base fine-tuned on
CommonGen through keytotext, whose arguments leave top-k 50 and 20 new tokens; so do the defaults here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from benchbench.errors import BenchError
from benchbench.models.opening import open_part, quiet
from benchbench.plugins.context import derive_seed

from .language_files import check_concepts, check_language_folder

if TYPE_CHECKING:
    from pathlib import Path

#: Sentences that are drawn at once. Fixed, since the random numbers of a sentence depend on it.
BATCH = 50
#: Draws per sentence asked for, after which one takes what is there. He et al. draw 1.25 and fail on fewer.
_MOST_DRAWS = 5
#: Batches in a row without a new sentence, after which no more are tried.
_PATIENCE = 3


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
            concept: what the sentences are about, as the model's input: ``"a forest"``.
            n: how many, from 1.
            seed: of the draws.
            max_new_tokens: length limit of a sentence, in tokens.
            top_k: tokens to draw from at each place, the likeliest ones; 0 draws from all.

        Raises:
            UsageError: the model's vocabulary has not every word of ``concept``.
            BenchError: the model's output is not finite.
        """
        check_concepts(self._folder, self.name, [concept])
        tokens = self._tokenizer(concept, return_tensors="pt").to(self._model.device)
        found: dict[str, None] = {}
        idle = 0
        places = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=places), torch.inference_mode():
            torch.manual_seed(derive_seed("sentences", concept, seed))
            for _ in range(-(-_MOST_DRAWS * n // BATCH)):
                before = len(found)
                found.update(dict.fromkeys(self._draw(tokens, max_new_tokens, top_k)))
                idle = 0 if len(found) > before else idle + 1
                if len(found) >= n or idle == _PATIENCE:
                    break
        return list(found)[:n]

    def _draw(self, tokens: Any, max_new_tokens: int, top_k: int) -> list[str]:
        """Draw one batch of sentences, spaces made single, empty ones left out."""
        with _finite(self.name):
            return self._drawn(tokens, max_new_tokens, top_k)

    def _drawn(self, tokens: Any, max_new_tokens: int, top_k: int) -> list[str]:
        # Everything that decides the draws is said here: a folder's own generation_config may ask for beams.
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
        texts = self._tokenizer.batch_decode(drawn.cpu(), skip_special_tokens=True)
        return [sentence for text in texts if (sentence := " ".join(text.split()))]


@contextmanager
def _finite(name: str) -> Iterator[None]:
    """Turn torch's refusal to draw from probabilities that are not finite into one line."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "probability tensor" not in str(error):
            raise
        raise BenchError(
            f"{name}: gave token probabilities that are not finite (NaN or infinite); its weights are at fault, "
            "fetch the folder again"
        ) from None


def open_language_model(folder: Path, name: str, *, device: str = "cpu") -> LanguageModel:
    """Open a folder in the transformers format, such as ``mrm8488/t5-base-finetuned-common_gen``, in fp32.

    Args:
        folder: with ``config.json``, a tokenizer and safetensors.
        name: how the user named it, the start of messages.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        UsageError: no sequence-to-sequence model, no tokenizer, or only pickled weights.
        BenchError: weights that are truncated or incomplete, or a tokenizer that cannot be opened.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    check_language_folder(folder, name)
    model = open_part(AutoModelForSeq2SeqLM.from_pretrained, folder, "", name)
    with quiet(name, "the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return LanguageModel(model.float().requires_grad_(False).eval().to(device), tokenizer, folder, name)
