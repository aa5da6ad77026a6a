"""GAN inversion: it finds latents, image by image, and an interruption leaves no trace."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mini_biggan import INFO, MINI, random_biggan, toy_train, write_folder
from safetensors.numpy import load_file

from benchbench.errors import BenchError
from benchbench.plugins.context import Context
from benchbench.plugins.images import ImageSet
from benchbench_plugins.generators.biggan import BigGAN, inversion
from benchbench_plugins.generators.biggan.inversion import (
    OPERATIONS,
    RESULT,
    ConvNet,
    augmented,
    invert,
    train_features,
)
from benchbench_plugins.generators.biggan.layout import BigGANConfig

PLUGIN = BigGAN(
    mode="inversion",
    model="mini",
    steps=12,
    learning_rate=0.1,
    lambda_pixel=1.0,
    features="train",
    feature_width=4,
    feature_steps=6,
    feature_batch=256,
)


@pytest.fixture(scope="module")
def mini_gan(tmp_path_factory):
    return write_folder(random_biggan(), tmp_path_factory.mktemp("gan"), ("a", "b"))


@pytest.fixture
def make(tmp_path, mini_gan):
    def context(name, **changes):
        values = {"seed": 7, "info": INFO, "foundations": {"mini": mini_gan}, "shard": range(6), **changes}
        folders = [tmp_path / name / what for what in ("out", "scratch")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        return Context(folder=folders[0], scratch=folders[1], **values)

    return context


def inverted(context, train, plugin=PLUGIN):
    invert(train, context, plugin)
    return load_file(context.folder / RESULT)


def made_images(seed=0, count=6):
    """Images that the generator itself makes, so that a latent with no loss exists."""
    z = torch.randn(count, MINI.dim_z, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) * 2 // count
    pixels = random_biggan()(z, labels)
    images = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return ImageSet(images, labels.numpy(), ("a", "b"))


def test_images_of_the_generator_are_found_again(make):
    train = made_images()
    before = inverted(make("before"), train, replace(PLUGIN, steps=1))
    after = inverted(make("after"), train, replace(PLUGIN, steps=250))
    assert np.median(after["pixel_loss"]) < 0.05 * np.median(before["pixel_loss"])
    assert np.median(after["feature_loss"]) < 0.05 * np.median(before["feature_loss"])


def test_an_image_does_not_depend_on_its_neighbours_nor_on_the_shard(make):
    train = toy_train()
    alone = inverted(make("alone", shard=range(2, 3)), train)
    together = inverted(make("together"), train)
    assert alone["index"].tolist() == [2]
    assert alone["z"].shape == (1, MINI.dim_z)
    for name in ("z", "pixel_loss", "feature_loss"):
        assert np.array_equal(alone[name][0], together[name][2]), name
    assert not np.array_equal(together["z"][2], together["z"][3])


class KilledError(Exception):
    """What a test throws in place of a kill."""


class Stopping(Context):
    """Dies after some steps."""

    stop_at: tuple[str, int] = ("", 0)

    def progress(self, items, total=None, label="", unit="it"):
        for done, item in enumerate(items):
            if (label, done) == self.stop_at:
                raise KilledError
            yield item


STOPS = [("learning features", 2), ("learning features", 4), *(("inverting", stop) for stop in (0, 1, 5, 12, 17))]


@pytest.mark.parametrize("stop", STOPS)
def test_a_killed_run_goes_on_to_the_same_bytes(make, stop, monkeypatch):
    monkeypatch.setattr("benchbench_plugins.generators.biggan.inversion.BATCH", 3)  # two batches of three
    train = toy_train()
    whole = make("whole")
    invert(train, whole, PLUGIN)
    first = make("cut", save_every=0)
    stopping = Stopping(**{name: value for name, value in vars(first).items() if name != "_labels"})
    stopping.stop_at = stop
    with pytest.raises(KilledError):
        invert(train, stopping, PLUGIN)
    assert not (first.folder / RESULT).exists()
    steps = []
    with monkeypatch.context() as patch:  # the steps of psi that are done are not taken again
        patch.setattr(inversion, "augmented", lambda *args, **kw: (steps.append(1), augmented(*args, **kw))[1])
        invert(train, make("cut"), PLUGIN)
    assert len(steps) == (6 - stop[1] if stop[0] == "learning features" else 0)
    assert (first.folder / RESULT).read_bytes() == (whole.folder / RESULT).read_bytes()


def test_the_first_step_is_adam_on_the_two_means(make):
    """Recomputed from the definition of the loss, with the generator's own forward pass and an Adam by hand."""
    train = toy_train()
    context = make("one")
    result = inverted(context, train, replace(PLUGIN, steps=1, lambda_pixel=3.0))
    mean, std = (torch.tensor(v)[:, None, None] for v in (INFO.mean, INFO.std))
    net, _ = train_features(train.images, train.labels, make("psi"), PLUGIN, lambda x: (x - mean) / std)
    model = random_biggan()
    target = (torch.from_numpy(train.images).permute(0, 3, 1, 2) / 255 - mean) / std
    labels = torch.from_numpy(train.labels)
    start = torch.stack([torch.randn(MINI.dim_z, generator=context.torch_rng("latent", i)) for i in range(6)])

    def losses(z):
        made = ((model(z, labels) + 1) / 2 - mean) / std
        return (net.embed(made) - net.embed(target)).square().mean(1), (made - target).square().mean((1, 2, 3))

    z = start.clone().requires_grad_()
    feature, pixel = losses(z)
    ((feature + 3 * pixel).sum() / 50).backward()
    # Adam's first step: the moments' corrections leave the gradient over its own size.
    expected = start - 0.1 * z.grad / (z.grad.abs() + 1e-8)
    np.testing.assert_allclose(result["z"], expected.detach().numpy(), atol=1e-4)
    feature, pixel = losses(torch.from_numpy(result["z"]))
    np.testing.assert_allclose(result["feature_loss"], feature.detach().numpy(), rtol=1e-3)
    np.testing.assert_allclose(result["pixel_loss"], pixel.detach().numpy(), rtol=1e-3)


def test_losses_are_reported(make):
    context = make("report")
    result = inverted(context, toy_train())
    assert 0.3 < context.facts["psi_loss"] < 1.5
    assert context.facts["mean_pixel_loss"] == pytest.approx(result["pixel_loss"].mean(), abs=1e-5)
    assert context.facts["mean_feature_loss"] == pytest.approx(result["feature_loss"].mean(), abs=1e-5)


def test_latents_that_diverge_are_refused(make):
    with pytest.raises(BenchError, match="diverged"):
        inverted(make("far"), toy_train(), replace(PLUGIN, lambda_pixel=1e39))


def test_an_embedded_classifier_serves_as_features(make):
    result = inverted(make("cnn"), toy_train(), replace(PLUGIN, features="glyph-cnn", steps=2))
    assert np.isfinite(result["feature_loss"]).all()


def test_a_published_checkpoint_is_sampled_and_inverted(tmp_path):
    """The whole BigGAN-CIFAR with random weights, saved as the authors do; images of another size are resized."""
    info = replace(INFO, name="ten", classes=tuple("abcdefghij"), class_counts=(1,) * 10)
    path = tmp_path / "DiffAugment-biggan-cifar10.pth"
    torch.save(random_biggan(BigGANConfig()).state_dict(), path)
    train = ImageSet(toy_train(3, 20).images, np.array([0, 4, 9]), info.classes)
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    context = Context(seed=1, folder=tmp_path / "out", scratch=tmp_path / "scratch", info=info, shard=range(3))
    plugin = BigGAN(mode="inversion", model=str(path), steps=2, feature_width=2, feature_steps=1).resolve(info)
    plugin.fit(train, context)
    context.fitted, context.n_syn = (context.folder,), plugin.output_count(3, None, 30)
    (images,) = plugin.sample(train, context)
    assert images.images.shape == (3, 16, 16, 3)
    assert images.labels.tolist() == [0, 4, 9]
    context.n_syn = 2
    (random,) = BigGAN(model=str(path)).sample(train, context)
    assert random.images.std() > 5


def test_the_feature_network_has_the_published_size_and_learns():
    net = ConvNet(128, 10, 32)
    assert sum(p.numel() for p in net.parameters()) == 320_010
    assert net.embed(torch.zeros(2, 3, 32, 32)).shape == (2, 2048)


def test_features_are_trained_alike_for_every_shard_and_learn_the_classes(make):
    train = toy_train(40)
    bright = np.where(train.labels[:, None, None, None] == 1, train.images // 2 + 127, train.images // 2)
    images = bright.astype(np.uint8)

    def learned(shard, steps):
        context = make(f"psi {shard.start} {steps}", shard=shard)
        plugin = replace(PLUGIN, feature_steps=steps)
        return train_features(images, train.labels, context, plugin, lambda x: x * 2 - 1)

    (one, first), (two, second) = learned(range(2), 60), learned(range(2, 6), 60)
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert first < 0.55 < learned(range(1), 2)[1]  # chance is 0.69


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_augmentation_changes_images_and_is_seeded(operation):
    images = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    first, second, other = (
        augmented(images, torch.Generator().manual_seed(seed), flip=True, operation=operation) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    changed = (first - images).abs().amax((1, 2, 3)) > 1e-3
    assert changed.float().mean() > 0.3


def test_crops_shift_by_whole_pixels_and_flips_are_drawn_only_where_they_may_be():
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    shifted = augmented(images, torch.Generator().manual_seed(1), flip=True, operation="crop")
    for image, moved in zip(images, shifted, strict=True):
        found = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.allclose(moved[:, 2:-2, 2:-2], image.roll((dy, dx), (1, 2))[:, 2:-2, 2:-2], atol=1e-4)
        ]
        assert len(found) == 1
    rng = torch.Generator().manual_seed(0)
    mirrored = images.flip(3)
    for _ in range(60):
        out = augmented(images, rng, flip=False)
        assert not any(torch.allclose(a, b, atol=1e-5) for a, b in zip(out, mirrored, strict=True))
