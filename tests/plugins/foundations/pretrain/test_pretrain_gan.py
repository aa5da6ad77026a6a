"""The training of glyph-biggan: digits alone, the same bytes after a kill, finished for eval mode."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchbench_plugins.foundations.pretrain import gan
from benchbench_plugins.foundations.pretrain.atlas import Atlas
from benchbench_plugins.foundations.pretrain.captions import CHARACTERS
from benchbench_plugins.foundations.pretrain.corpus import Corpus
from benchbench_plugins.foundations.pretrain.gan_discriminator import Discriminator, pooled_conv
from benchbench_plugins.foundations.pretrain.gan_export import draw, finished, recognised, save_gan
from benchbench_plugins.foundations.pretrain.training import load_checkpoint
from benchbench_plugins.generators.biggan.layout import read_biggan_layout
from benchbench_plugins.generators.biggan.network import SNConv2d, SpectralNorm, load_biggan


def quiet(_line: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def corpus():
    """A bar for each character, further right for a later one."""
    count = len(CHARACTERS)
    masks = np.zeros((2 * count, 48, 48), np.uint8)
    chars = np.repeat(np.arange(count), 2)
    for row, char in enumerate(chars):
        masks[row, 8:40, 4 + char // 3 : 12 + char // 3] = 255
    return Corpus(Atlas(masks, chars, np.tile([0, 2], count), np.tile([False, True], count)), 0)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(gan, "BATCH", 8)
    monkeypatch.setattr(gan, "_CHUNK", 48)


def test_a_restricted_corpus_draws_its_characters_alone_and_leaves_the_other_as_it_was(corpus):
    before = corpus.batch(5, 64)
    digits = corpus.restricted(range(10))
    chars = torch.cat([digits.batch(i, 256).chars for i in range(8)])
    assert set(chars.tolist()) == set(range(10))
    counts = torch.bincount(chars)
    assert int(counts.max()) < 1.4 * int(counts.min())  # digits are equally frequent
    after = corpus.batch(5, 64)
    assert torch.equal(before.images, after.images)
    assert int(after.chars.max()) > 9
    assert torch.equal(digits.batch(3, 16).images, digits.batch(3, 16).images)


def test_real_batches_are_digits_on_dark_paper(corpus):
    feed = gan._Feed(corpus, 0)
    images, labels = feed.real(9)
    assert images.shape == (gan.BATCH, 3, 32, 32)
    assert set(labels.tolist()) <= set(range(10))
    for step in range(20):
        shown = feed.real(step)[0][:, 0]
        edge = torch.cat([shown[:, 0], shown[:, -1]], 1)
        assert (edge.median(1).values < 0).all()
    again = gan._Feed(corpus, 0)
    assert torch.equal(again.real(9)[0], images)
    assert torch.equal(again.latents(4)[1][0], feed.latents(4)[1][0])


def test_a_stopped_training_goes_on_to_the_same_bits(corpus, small, tmp_path):
    class StoppedError(Exception):
        """In place of a kill."""

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    gan.train_gan(corpus, whole, 5, 0, quiet, checkpoint_seconds=1e9)
    original = gan._Game.step

    def step(self, feed, number, factor):
        if number == 3:
            raise StoppedError
        return original(self, feed, number, factor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan._Game, "step", step)
        with pytest.raises(StoppedError):
            gan.train_gan(corpus, cut, 5, 0, quiet, checkpoint_seconds=0.0)
    assert load_checkpoint(cut / "gan.pt")["step"] == 3
    gan.train_gan(corpus, cut, 5, 0, quiet, checkpoint_seconds=1e9)
    for part in ("g", "d", "average"):
        first, second = (load_checkpoint(place / "gan.pt")[part] for place in (whole, cut))
        assert all(torch.equal(first[name], second[name]) for name in first), part
    first, second = (gan.restore_gan(place).state_dict() for place in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_finished_generator_works_in_eval_mode_as_it_does_on_batches(corpus, small, tmp_path):
    average = gan.train_gan(corpus, tmp_path, 2, 0, quiet)
    model = finished(average, 0, batches=8)
    assert not model.training
    for layer in (m for m in model.modules() if isinstance(m, SpectralNorm)):
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert float((layer.weight / layer.normalised()).median()) == pytest.approx(float(largest), rel=1e-2)
    g = torch.Generator().manual_seed(3)
    z, y = torch.randn(512, gan.CONFIG.dim_z, generator=g), torch.randint(10, (512,), generator=g)
    with torch.no_grad():
        stored = model(z, y)
        on_batch = finished(average, 0, batches=1).train()(z, y)
    assert float((stored - on_batch).square().mean()) < 0.01 * float(on_batch.var())
    # The corpus is grey, and so is what is made of it.
    assert torch.equal(stored[:, 0], stored[:, 1])
    assert torch.equal(stored[:, 0], stored[:, 2])
    save_gan(model, tmp_path / "glyph-biggan", 2, 0)
    opened = load_biggan(read_biggan_layout(tmp_path / "glyph-biggan", "it"))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in opened.state_dict().items())
    assert json.loads((tmp_path / "glyph-biggan" / "config.json").read_text())["classes"] == list("0123456789")
    images, labels = draw(opened, 2, 0)
    assert labels.tolist() == sorted([*range(10), *range(10)])
    assert images.shape == (20, 3, 32, 32)


def test_an_untrained_generator_is_not_recognised():
    from benchbench_plugins.foundations.glyph import GlyphCNN

    model = finished(gan._Game(0).average, 0, batches=1)
    assert recognised(model, GlyphCNN().folder(), 0)[1] < 0.3


def test_a_pooled_convolution_is_a_convolution_and_a_mean():
    conv = SNConv2d(2, 3).double().eval()
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pooled_conv(x, conv), F.avg_pool2d(conv(x), 2), atol=1e-12, rtol=0)


def test_the_discriminator_projects_the_class_and_ignores_colour():
    torch.manual_seed(0)
    d = Discriminator(10).eval()
    x = torch.randn(4, 3, 32, 32)
    scores = d(x, torch.arange(4))
    assert scores.shape == (4,)
    torch.testing.assert_close(d(x.flip(1), torch.arange(4)), scores)
    assert not torch.allclose(d(x, torch.arange(4) + 1), scores)


def test_the_learning_rate_is_constant_and_then_falls():
    factors = [gan.learning_rate_factor(step, 1000) for step in range(1000)]
    assert set(factors[:600]) == {1.0}
    assert factors[600:] == sorted(factors[600:], reverse=True)
    assert factors[-1] == pytest.approx(0.05, abs=0.01)
