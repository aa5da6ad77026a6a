"""Random latents and variants of inverted ones: counts, balance, seeds, origins."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mini_biggan import INFO, MINI, random_biggan, toy_train, write_folder
from safetensors.numpy import save_file

from benchbench.errors import BenchError, UsageError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet
from benchbench.plugins.locate import locate
from benchbench.plugins.parameters import build
from benchbench_plugins.foundations.glyph import GlyphBigGAN
from benchbench_plugins.generators.biggan import BigGAN


@pytest.fixture(scope="module")
def mini_gan(tmp_path_factory):
    return write_folder(random_biggan(), tmp_path_factory.mktemp("gan"), ("a", "b"))


@pytest.fixture
def make(tmp_path, mini_gan):
    def context(**changes):
        values = {"seed": 7, "info": INFO, "foundations": {"mini": mini_gan}, **changes}
        return Context(folder=tmp_path, scratch=tmp_path, **values)

    return context


@pytest.fixture
def fitted(tmp_path):
    """Latents as two shards of ``fit`` leave them."""
    z = torch.randn(6, MINI.dim_z, generator=torch.Generator().manual_seed(2)).numpy()
    folders = []
    for rows in (slice(0, 4), slice(4, 6)):
        folder = tmp_path / f"shard{rows.start}"
        folder.mkdir()
        index = np.arange(6, dtype=np.int64)[rows]
        losses = index.astype(np.float32) / 10
        tables = {"index": index, "z": z[rows], "feature_loss": losses, "pixel_loss": losses * 2}
        save_file(tables, folder / "latents.safetensors")
        folders.append(folder)
    return tuple(folders), torch.from_numpy(z)


def drawn(plugin, context, train=None):
    return ImageSet.concatenate(list(plugin.sample(train or toy_train(), context)))


def test_random_latents_are_drawn_per_image_and_repeat(make):
    plugin = BigGAN(model="mini")
    many, again = (drawn(plugin, make(n_syn=61)) for _ in range(2))
    assert np.array_equal(many.images, again.images)
    few = drawn(plugin, make(n_syn=3))
    # What an image shows depends on its number and its label, not on how many are made.
    for k in range(3):
        if few.labels[k] == many.labels[k]:
            assert np.array_equal(few.images[k], many.images[k])
    assert len({image.tobytes() for image in many.images}) == 61
    assert not np.array_equal(drawn(plugin, make(n_syn=3, seed=8)).images, few.images)
    assert len({origin["seed"] for origin in many.origins}) == 61


def test_a_killed_sampling_continues_with_the_same_images(make):
    plugin = BigGAN(model="mini")
    whole = list(plugin.sample(toy_train(), make(n_syn=120)))
    rest = list(plugin.sample(toy_train(), make(n_syn=120, completed=2)))
    assert [len(part) for part in whole] == [50, 50, 20]
    assert len(rest) == 1
    assert np.array_equal(rest[0].images, whole[2].images)


def test_truncated_latents_follow_the_truncated_normal(make):
    from benchbench_plugins.generators.biggan.sampling import _random

    def latents(truncation):
        plugin = BigGAN(model="mini", truncation=truncation)
        return torch.cat([_random(500, plugin, 1, k)[0] for k in range(40)])

    cut, free = latents(1.0), latents(0.0)
    assert float(cut.abs().max()) <= 1.0
    # The variance of a normal cut at one deviation is 0.2911, of a free one 1.
    assert float(cut.var()) == pytest.approx(0.2911, abs=0.01)
    assert float(free.var()) == pytest.approx(1.0, abs=0.03)
    images = drawn(BigGAN(model="mini", truncation=0.01), make(n_syn=6))
    one_class = images.images[images.labels == 0].astype(int)
    assert np.abs(one_class - one_class[0]).max() < 20


def test_inverted_latents_give_one_image_for_each_real_one(make, fitted):
    folders, z = fitted
    plugin = BigGAN(mode="inversion", model="mini")
    assert plugin.output_count(6, 100, 60) == 6
    context = make(n_syn=6, fitted=folders)
    train = toy_train()
    made = drawn(plugin, context, train)
    assert np.array_equal(made.labels, train.labels)
    assert [origin["source"] for origin in made.origins] == list(range(6))
    assert made.origins[3]["pixel_loss"] == pytest.approx(0.6)
    assert context.facts == {"mean_feature_loss": pytest.approx(0.25), "mean_pixel_loss": pytest.approx(0.5)}
    expected = random_biggan()(z, torch.from_numpy(train.labels))
    pixels = ((expected + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    assert np.abs(made.images - pixels).max() <= 0.51


def test_perturbed_latents_give_variants_around_each_image(make, fitted):
    folders, _ = fitted
    exact = drawn(BigGAN(mode="inversion", model="mini"), make(n_syn=6, fitted=folders))
    plugin = BigGAN(mode="inversion", model="mini", perturbation=0.1)
    assert plugin.output_count(6, None, 60) == 60
    assert plugin.output_count(6, 20, 60) == 20
    made = drawn(plugin, make(n_syn=20, fitted=folders))
    assert len({image.tobytes() for image in made.images}) == 20
    near = np.abs(made.images[:6].astype(int) - exact.images).mean()
    far = np.abs(exact.images[:3].astype(int) - exact.images[[1, 2, 0]]).mean()
    assert 0 < near < far / 2
    assert made.origins[7]["source"] == 1
    assert made.origins[7]["seed"] != made.origins[1]["seed"]


def test_images_that_are_not_finite_do_not_become_black(make, tmp_path):
    """Finite weights can do it: a negative variance has no root."""
    model = random_biggan()
    model.blocks[0][0].bn1.stored_var.fill_(-1)
    folder = write_folder(model, tmp_path / "damaged", ("a", "b"))
    context = make(n_syn=2, foundations={"damaged": folder})
    with pytest.raises(BenchError, match=r"^biggan:model=damaged: made images that are not finite"):
        drawn(BigGAN(model="damaged"), context)


def test_latents_of_another_subset_are_refused(make, fitted):
    folders, _ = fitted
    with pytest.raises(BenchError, match="not those of the 6 training images"):
        drawn(BigGAN(mode="inversion", model="mini"), make(n_syn=6, fitted=folders[:1]))


def test_images_come_at_the_datasets_resolution(make):
    assert drawn(BigGAN(model="mini"), make(n_syn=2, info=replace(INFO, resolution=24))).images.shape[1:3] == (24, 24)


def test_random_latents_need_no_fit_and_shards_stay_few():
    assert BigGAN().shards(50) == ()
    shards = BigGAN(mode="inversion").shards(50_000)
    assert len(shards) == 8
    assert [i for shard in shards for i in (shard.start, shard.stop - 1)][:: len(shards) * 2 - 1] == [0, 49_999]
    assert BigGAN(mode="inversion").shards(50) == (range(50),)
    assert len(BigGAN(mode="inversion", shard_size=20).shards(50)) == 3


def test_presets_and_needs():
    paper = build(BigGAN, {"mode": "inversion"}, subject="biggan", preset="paper")
    assert (paper.steps, paper.learning_rate, paper.lambda_pixel) == (5000, 0.1, 1.0)
    assert (paper.feature_width, paper.feature_steps, paper.feature_batch) == (128, None, 256)
    assert paper.truncation == 0.0
    assert paper.needs().foundations == ("glyph-biggan",)
    assert build(BigGAN, {"features": "glyph-cnn"}, subject="biggan").needs().foundations == ("glyph-biggan",)
    psi = BigGAN(mode="inversion", features="glyph-cnn")
    assert psi.needs().foundations == ("glyph-biggan", "glyph-cnn")


@pytest.mark.parametrize("given", [{"perturbation": "0.1"}, {"mode": "inversion", "truncation": "1"}, {"mode": "x"}])
def test_values_that_would_do_nothing_are_refused(given):
    with pytest.raises(UsageError, match=r"^biggan:"):
        build(BigGAN, given, subject="biggan")


def test_plan_time_checks(mini_gan, tmp_path):
    BigGAN(model=str(mini_gan)).resolve(INFO)
    other = replace(INFO, name="other", classes=("a", "c"))
    with pytest.raises(UsageError, match=r"^biggan:model=.*knows the classes a, b; the dataset other has a, c"):
        BigGAN(model=str(mini_gan)).resolve(other)
    assert BigGAN(model="some/hub-id").resolve(INFO).model == "some/hub-id"
    with pytest.raises(UsageError, match=r"^biggan:features=.*not a feature network"):
        BigGAN(mode="inversion", model=str(mini_gan), features=str(mini_gan)).resolve(INFO)
    BigGAN(mode="inversion", model=str(mini_gan), features=str(locate("glyph-cnn"))).resolve(INFO)


def test_the_embedded_model_makes_the_digits_it_is_asked_for():
    from benchbench_plugins.foundations.glyph import GlyphCNN
    from benchbench_plugins.foundations.pretrain.gan_export import recognised
    from benchbench_plugins.generators.biggan.layout import read_biggan_layout
    from benchbench_plugins.generators.biggan.network import load_biggan

    folder = GlyphBigGAN().folder()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2.5e6
    layout = read_biggan_layout(folder, "glyph-biggan")
    assert layout.classes == tuple("0123456789")
    _, of_digits = recognised(load_biggan(layout), GlyphCNN().folder(), 11)
    assert of_digits > 0.95
