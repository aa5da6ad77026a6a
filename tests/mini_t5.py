"""A randomly initialised, narrow T5 with t5-base's configuration keys and a Unigram tokenizer.json as T5's own."""

from __future__ import annotations

import json
from pathlib import Path

_WORDS = [
    "a",
    "the",
    "an",
    "digit",
    "class",
    "bird",
    "forest",
    "zero",
    "one",
    "two",
    "is",
    "on",
    "of",
    "in",
    "sits",
    "flies",
]


def write_mini_t5(folder: Path, seed: int = 0) -> Path:
    """Write a sequence-to-sequence model as transformers does, with safetensors; same arguments, same bytes."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    size = _write_unigram(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(
            T5Config(
                vocab_size=size,
                d_model=32,
                d_kv=8,
                d_ff=48,
                num_layers=2,
                num_decoder_layers=2,
                num_heads=4,
                relative_attention_num_buckets=32,
                dropout_rate=0.1,
                layer_norm_epsilon=1e-6,
                initializer_factor=1.0,
                feed_forward_proj="relu",
                is_encoder_decoder=True,
                use_cache=True,
                pad_token_id=0,
                eos_token_id=1,
                decoder_start_token_id=0,
                n_positions=512,
                output_past=True,
                task_specific_params={"summarization": {"num_beams": 4, "max_length": 200}},
            )
        )
    model.save_pretrained(str(folder), safe_serialization=True)
    return folder


def _write_unigram(folder: Path) -> int:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = [chr(code) for code in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pieces += [(f"\u2581{word}", -4.0) for word in _WORDS] + [(letter, -9.0) for letter in letters]
    inner = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    inner.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "T5Tokenizer",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "extra_ids": 0,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return len(pieces)
