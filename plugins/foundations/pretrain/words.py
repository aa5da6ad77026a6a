"""glyph-words: a small T5 that turns the name of a character into varied descriptions of it."""

import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from ...generators.lecf.candidates import open_language_model
from .captions import CHARACTERS
from .sentences import concept, described, description, vocabulary
from .training import LossLog, Report, load_checkpoint, save_checkpoint

_BATCH, _LR, _SAVE_EVERY = 64, 4e-3, 200
_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"
# Without this, transformers 4 adds token types, which a T5 does not take.
_INPUTS = ["input_ids", "attention_mask"]
MAX_TOKENS = 32


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer: lower case, one token for each word of the grammar, an end token behind every text."""
    ids = {word: i for i, word in enumerate([_PAD, _END, _UNKNOWN, *vocabulary()])}
    inner = Tokenizer(models.WordLevel(ids, unk_token=_UNKNOWN))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, ids[_END])])
    inner.decoder = decoders.WordPiece(prefix="##", cleanup=True)  # it joins by spaces and sets commas close
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=_END,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        model_max_length=MAX_TOKENS,
        model_input_names=_INPUTS,
        clean_up_tokenization_spaces=False,
    )


def build_model(tokenizer: PreTrainedTokenizerFast) -> T5ForConditionalGeneration:
    """Return the untrained model, 0.2 million parameters."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=160,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5ForConditionalGeneration(config)


def draw(seed: int, batch: int, size: int = _BATCH) -> list[tuple[str, str]]:
    """Return pairs of a concept and a description; a pure function of the arguments."""
    rng = random.Random(f"words {seed} {batch}")
    chars = rng.choices(range(len(CHARACTERS)), k=size)
    return [(concept(char, rng), description(char, rng)) for char in chars]


def train_words(folder: Path, steps: int, seed: int, report: Report) -> T5ForConditionalGeneration:
    """Train for `steps` batches of 64, going on from the checkpoint in `folder` if there is one."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LR, weight_decay=1e-2)
    path = folder / "words.pt"
    start = 0
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = int(state["step"])
    log = LossLog(folder / "words_loss.csv", steps, report, start)
    for step in range(start, steps):
        warm = min(1.0, (step + 1) / 200)
        optimizer.param_groups[0]["lr"] = _LR * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        loss = model(**_batch(tokenizer, draw(seed, step))).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        log.add(step + 1, loss.item())
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            save_checkpoint(path, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1})
    return model.eval()


def _batch(tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[str, str]]) -> dict[str, Tensor]:
    asked = tokenizer([a for a, _ in pairs], padding=True, return_tensors="pt")
    told = tokenizer([b for _, b in pairs], padding=True, return_tensors="pt")
    labels = told.input_ids.masked_fill(told.attention_mask == 0, -100)
    return {"input_ids": asked.input_ids, "attention_mask": asked.attention_mask, "labels": labels}


def save_words(model: T5ForConditionalGeneration, folder: Path) -> None:
    """Write the folder of a transformers sequence-to-sequence model in fp16, replacing what is there."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    half = build_model(tokenizer := build_tokenizer()).to(torch.float16)
    half.load_state_dict({name: value.half() for name, value in model.state_dict().items()})
    half.generation_config = GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    half.save_pretrained(temporary, safe_serialization=True)
    tokenizer.save_pretrained(temporary)
    # Written by hand, since transformers 4 does not know the class that transformers 5 writes down.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_TOKENS,
        "model_input_names": _INPUTS,
        "eos_token": _END,
        "pad_token": _PAD,
        "unk_token": _UNKNOWN,
        "clean_up_tokenization_spaces": False,
    }
    (temporary / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for path in temporary.iterdir():
        path.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def document_words(model: Path, docs: Path) -> dict[str, float]:
    """Write sample sentences of a finished model to `docs` and return what `judge` measures."""
    language = open_language_model(model, model.name)
    return judge(language.sentences, docs / "words_samples.txt")


def judge(write: Callable[[str, int, int], list[str]], path: Path | None, per_concept: int = 200) -> dict[str, float]:
    """Measure descriptions of the digits and of three letters; write some of them to `path`.

    Args:
        write: sentences for a concept, a number and a seed.
        path: a text file for the first twelve sentences of each concept, or ``None``.
        per_concept: how many different sentences to ask for.

    Returns:
        ``named``: share of sentences that name the concept's character; ``grammatical``: share that are descriptions
        of it by the grammar; ``distinct``: different sentences per concept, on average; ``length``: words per
        sentence, on average.
    """
    asked = [f"the {CHARACTERS[i].name}" for i in (*range(10), 10, 36, 42)]
    whole, named, lines, found = 0, 0, [], []
    for text in asked:
        sentences = write(text, per_concept, 0)
        found += sentences
        name = text.removeprefix("the ")
        about = [described(sentence) for sentence in sentences]
        whole += sum(1 for char in about if char is not None and CHARACTERS[char].name == name)
        named += sum(1 for sentence in sentences if name in sentence.split(", ")[0])
        lines += [f"{text}:", *(f"  {sentence}" for sentence in sentences[:12])]
    if path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "named": named / max(1, len(found)),
        "grammatical": whole / max(1, len(found)),
        "distinct": len(found) / len(asked),
        "length": sum(len(sentence.split()) for sentence in found) / max(1, len(found)),
    }
