import random

import pytest
import torch

from benchbench_plugins.foundations.glyph import GlyphWords
from benchbench_plugins.foundations.pretrain import words
from benchbench_plugins.foundations.pretrain.captions import CHARACTERS, vocabulary_words
from benchbench_plugins.foundations.pretrain.sentences import GROUPS, STYLES, concept, described, description
from benchbench_plugins.generators.lecf.candidates import open_language_model

SILENT = lambda line: None  # noqa: E731


@pytest.fixture(scope="module")
def language():
    return open_language_model(GlyphWords().folder(), "glyph-words")


def test_descriptions_say_what_they_are_about_in_the_words_of_the_captions():
    rng, known = random.Random(0), set(vocabulary_words())
    for char in range(len(CHARACTERS)):
        texts = {description(char, rng) for _ in range(40)}
        assert len(texts) > 25
        assert {described(text) for text in texts} == {char}
        assert {word for text in texts for word in text.replace(",", "").split()} <= known


@pytest.mark.parametrize(
    "text", ["digit seven", "the digit", "the digit seven, bold, thin", "the digit seven, bold, bold", "the bold", ""]
)
def test_what_the_grammar_does_not_make_is_not_taken_for_a_description(text):
    assert described(text) is None


def test_every_style_is_in_one_group():
    assert sorted(style for group in GROUPS for style in group) == sorted(STYLES)


def test_the_tokenizer_knows_every_word_and_gives_sentences_back():
    tokenizer, rng = words.build_tokenizer(), random.Random(0)
    for char in range(len(CHARACTERS)):
        for text in (description(char, rng), concept(char, rng).lower()):
            ids = tokenizer(text).input_ids
            assert tokenizer.unk_token_id not in ids
            assert ids[-1] == tokenizer.eos_token_id
            assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_batches_are_a_function_of_seed_and_number():
    assert words.draw(0, 5, 8) == words.draw(0, 5, 8)
    assert words.draw(0, 5, 8) != words.draw(0, 6, 8)
    assert words.draw(0, 5, 8) != words.draw(1, 5, 8)


def test_a_killed_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "_BATCH", 4)
    monkeypatch.setattr(words, "_SAVE_EVERY", 2)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = words.train_words(tmp_path / "whole", 5, 0, SILENT).state_dict()
    draw = words.draw

    def dying(seed, batch):
        if batch == 3:
            raise KeyboardInterrupt
        return draw(seed, batch)

    monkeypatch.setattr(words, "draw", dying)
    with pytest.raises(KeyboardInterrupt):
        words.train_words(tmp_path / "killed", 5, 0, SILENT)
    monkeypatch.setattr(words, "draw", draw)
    resumed = words.train_words(tmp_path / "killed", 5, 0, SILENT).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_saved_model_opens_with_the_same_weights_in_half_precision(tmp_path):
    torch.manual_seed(0)
    model = words.build_model(words.build_tokenizer())
    words.save_words(model, tmp_path / "glyph-words")
    opened = open_language_model(tmp_path / "glyph-words", "x")
    for name, value in opened._model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name].half().float()), name
    assert not list((tmp_path / "glyph-words").glob("*.bin"))


def test_the_shipped_model_is_small_and_describes_what_it_is_asked_about(language):
    folder = GlyphWords().folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 800_000
    found = words.judge(language.sentences, None, per_concept=50)
    assert found["distinct"] == 50
    assert found["named"] > 0.98
    assert found["grammatical"] > 0.85


def test_the_shipped_model_knows_other_names_for_a_digit(language):
    seven = next(i for i, c in enumerate(CHARACTERS) if c.name == "digit seven")
    for name in ("seven", "digit seven", "the number seven", "7"):
        about = [described(sentence) for sentence in language.sentences(name, 20, 0)]
        assert about.count(seven) >= 15
        assert set(about) <= {seven, None}
