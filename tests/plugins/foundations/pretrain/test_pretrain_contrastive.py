import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from benchbench.models.clip.model import open_clip_model
from benchbench_plugins.foundations.glyph import GlyphCLIP
from benchbench_plugins.foundations.pretrain import contrastive
from benchbench_plugins.foundations.pretrain.captions import CHARACTERS, caption
from benchbench_plugins.foundations.pretrain.contrastive_export import document_clip, save_clip
from benchbench_plugins.foundations.pretrain.corpus import Batch
from benchbench_plugins.foundations.pretrain.tokens import build_tokenizer


def batch(index, size):
    """A stand-in for the corpus: batch `index` is a pure function of its number, the picture shows nothing."""
    g, rng = torch.Generator().manual_seed(index), random.Random(index)
    chars = torch.randint(0, len(CHARACTERS), (size,), generator=g)
    texts = [caption(int(char), ["bold", "printed"], rng) for char in chars]
    return Batch(torch.rand(size, 3, 32, 32, generator=g) * 2 - 1, chars, texts)


CORPUS = SimpleNamespace(seed=0, batch=batch)


def quiet(_line):
    """Report nothing."""


def test_with_one_positive_each_the_loss_is_clips():
    logits = torch.randn(7, 7, generator=torch.Generator().manual_seed(0))
    target = torch.arange(7)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    assert contrastive.contrastive_loss(logits, torch.eye(7, dtype=torch.bool)) == pytest.approx(float(expected))


def test_loss_is_zero_when_everything_fits_and_counts_all_positives():
    logits = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 3.0]])
    assert contrastive.contrastive_loss(logits, torch.ones(3, 3, dtype=torch.bool)) == pytest.approx(0, abs=1e-6)
    fits = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    first = -torch.log(logits[0, :2].exp().sum() / logits[0].exp().sum())
    last = -torch.log(logits[2, 2].exp() / logits[2].exp().sum())
    expected = float((2 * first + last) / 3)  # symmetric: both directions are the same
    assert contrastive.contrastive_loss(logits, fits) == pytest.approx(expected)


def test_plain_captions_fit_every_image_of_their_character_and_styled_ones_their_own():
    chars = torch.tensor([7, 7, 3, 7])
    texts = ["a photo of the digit seven.", "seven, bold", "three", "seven, bold."]
    found = contrastive.positives(chars, texts)
    assert found.tolist() == [
        [True, False, False, False],
        [True, True, False, True],
        [False, False, True, False],
        [True, True, False, True],
    ]


def test_rate_does_not_depend_on_the_number_of_steps_until_it_falls():
    rates = [[contrastive.learning_rate(step, steps) for step in range(600)] for steps in (1000, 5000)]
    assert rates[0] == rates[1]
    assert contrastive.learning_rate(999, 1000) < 0.02 * contrastive.learning_rate(600, 1000)


def test_half_of_the_captions_only_name_the_character():
    found = contrastive.Feed(CORPUS, 0).step(3)
    again = contrastive.Feed(CORPUS, 0).step(3)
    assert found.captions == again.captions
    assert torch.equal(found.images, again.images)
    for char, text in zip(found.chars.tolist(), found.captions, strict=True):
        assert CHARACTERS[char].name.removeprefix("digit ") in text
    plain = sum("," not in text for text in found.captions) / len(found.captions)
    periods = sum(text.endswith(".") for text in found.captions) / len(found.captions)
    assert 0.6 < plain < 0.9
    assert 0.35 < periods < 0.65


def test_killed_training_goes_on_to_the_same_bytes_and_is_opened_by_the_loader(tmp_path, monkeypatch):
    monkeypatch.setattr(contrastive, "BATCH", 24)
    monkeypatch.setattr(contrastive, "_CHUNK", 96)
    tokenizer = build_tokenizer()
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = contrastive.train_clip(CORPUS, tokenizer, tmp_path / "whole", 6, 0, quiet)
    save, saved = contrastive.save_checkpoint, []

    def killed(path, state):
        save(path, state)
        saved.append(path)
        if len(saved) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(contrastive, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        contrastive.train_clip(CORPUS, tokenizer, tmp_path / "killed", 6, 0, quiet, checkpoint_seconds=0)
    resumed = contrastive.train_clip(CORPUS, tokenizer, tmp_path / "killed", 6, 0, quiet)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    looked_at = contrastive.restore_average(tokenizer, tmp_path / "killed").state_dict()
    assert torch.equal(looked_at["visual_projection.weight"], whole.visual_projection.weight)

    save_clip(whole, tmp_path / "glyph-clip")
    shipped = {path.name for path in GlyphCLIP().folder().iterdir()}
    assert {path.name for path in (tmp_path / "glyph-clip").iterdir()} == shipped
    texts = ["a photo of the digit seven.", "ampersand"]
    opened = open_clip_model(tmp_path / "glyph-clip", "new").encode_texts(texts)
    with torch.no_grad():
        rows = contrastive.embed_texts(whole, contrastive.tokens(tokenizer, texts))
    assert opened == pytest.approx(rows.numpy(), abs=0.01)  # stored in fp16


def test_documents_say_what_each_character_is_taken_for(tmp_path):
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    model = contrastive.build_model(tokenizer).eval()
    confusion = contrastive.held_out_confusion(model, tokenizer, CORPUS)
    assert int(confusion.sum()) == 2048
    by_hand = torch.eye(84, dtype=torch.int64) * 3
    by_hand[0, 5] = 1
    assert contrastive.accuracies(by_hand) == {"all": round(252 / 253, 4), "digits": round(30 / 31, 4)}
    document_clip(model, tokenizer, CORPUS, by_hand, tmp_path)
    lines = (tmp_path / "clip_zero_shot.csv").read_text("utf-8").splitlines()
    assert lines[:3] == ["character,images,recall,confused_with", "digit zero,4,0.750,digit five", "digit one,3,1.000,"]
    assert len(lines) == 85
    assert (tmp_path / "clip_retrieval.png").stat().st_size > 1000
