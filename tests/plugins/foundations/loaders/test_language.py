import json
import shutil
from pathlib import Path

import pytest
import torch
from mini_t5 import write_mini_t5

from benchbench.errors import BenchError, UsageError
from benchbench_plugins.generators.lecf.candidates import check_concepts, check_language_folder, open_language_model


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return write_mini_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def language(t5):
    return open_language_model(t5, "t5")


@pytest.fixture
def copy(t5, tmp_path):
    return Path(shutil.copytree(t5, tmp_path / "copy"))


def test_sentences_are_different_and_as_many_as_asked_for(language):
    found = language.sentences("a bird", 60, 0)
    assert len(found) == len(set(found)) == 60
    assert all(sentence == " ".join(sentence.split()) for sentence in found)


def test_concept_and_seed_decide_the_sentences_and_a_larger_number_goes_on(language):
    few = language.sentences("a bird", 5, 0)
    assert language.sentences("a bird", 60, 0)[:5] == few
    assert language.sentences("a bird", 5, 1) != few
    assert language.sentences("a forest", 5, 0) != few


def test_the_length_is_limited(language):
    short = language.sentences("a bird", 40, 0, max_new_tokens=3)
    tokens = language._tokenizer(short, add_special_tokens=False).input_ids
    # Tokens of a sentence that is read again can be fewer, never more than one per letter.
    assert max(map(len, tokens)) <= 3 * max(len(piece) for piece in language._tokenizer.get_vocab())
    assert max(map(len, short)) < max(map(len, language.sentences("a bird", 40, 0)))


def test_the_likeliest_token_alone_leaves_one_sentence(language):
    assert len(language.sentences("a bird", 30, 0, top_k=1)) == 1


def test_no_global_random_state_is_touched(language):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    language.sentences("a bird", 5, 0)
    assert torch.equal(torch.rand(4), expected)


def test_the_folders_own_generation_settings_change_nothing(copy, language):
    (copy / "generation_config.json").write_text(
        json.dumps(
            {"num_beams": 4, "temperature": 0.1, "min_length": 9, "no_repeat_ngram_size": 3, "eos_token_id": 1,
             "pad_token_id": 0, "decoder_start_token_id": 0}
        )
    )  # fmt: skip
    assert open_language_model(copy, "t5").sentences("a bird", 5, 0) == language.sentences("a bird", 5, 0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "gpt2"}'), "no sequence-to-sequence.*gpt2"),
        (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "only pickled weights"),
    ],
)
def test_a_folder_that_is_wrong_is_known_without_opening_it(copy, spoil, said):
    check_language_folder(copy, "x")
    spoil(copy)
    with pytest.raises(UsageError, match=said) as caught:
        check_language_folder(copy, "x")
    assert str(caught.value).startswith("x: ")
    assert "\n" not in str(caught.value)


def test_truncated_or_missing_weights_are_one_line(copy):
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BenchError, match=r"^x: model\.safetensors is truncated, .*fetch the folder again") as caught:
        open_language_model(copy, "x")
    assert "\n" not in str(caught.value)
    from safetensors.torch import load, save_file

    kept = {name: value for name, value in load(whole).items() if "decoder.block.1" not in name}
    save_file(kept, weights, metadata={"format": "pt"})
    with pytest.raises(BenchError, match=r"lacks .* weights.*decoder.block.1"):
        open_language_model(copy, "x")


def test_weights_that_are_not_finite_are_one_line(copy):
    from safetensors.torch import load_file, save_file

    weights = copy / "model.safetensors"
    damaged = {name: torch.full_like(value, float("nan")) for name, value in load_file(weights).items()}
    save_file(damaged, weights, metadata={"format": "pt"})
    with pytest.raises(BenchError, match=r"^x: gave token probabilities that are not finite .*fetch the folder again$"):
        open_language_model(copy, "x").sentences("a bird", 3, 0)


def test_only_a_word_level_tokenizer_can_lack_a_word(t5, tmp_path):
    check_concepts(t5, "x", ["a zeppelin"])
    words = {"model": {"type": "WordLevel", "vocab": {"a": 0, "bird": 1}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(words))
    check_concepts(tmp_path, "x", ["A bird"])
    with pytest.raises(UsageError, match=r"^x: does not know 'zeppelin' of 'a zeppelin'"):
        check_concepts(tmp_path, "x", ["a bird", "a zeppelin"])
