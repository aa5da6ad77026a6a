import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.numpy import load_file, save_file

from benchbench.errors import BenchError, UsageError
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench.testing import conformance
from benchbench_plugins.generators import vae
from benchbench_plugins.generators.vae import VAE


def plugin(preset="quick", **values):
    return build(VAE, values, subject="vae", preset=preset)


def made(generator, train, context):
    return ImageSet.concatenate(list(generator.sample(train, context)))


def test_it_keeps_what_generators_promise_with_a_model_of_the_real_architecture(mini, info, train, monkeypatch):
    monkeypatch.setattr(vae, "CHUNK", 3)
    conformance(VAE, name="vae", values={"model": str(mini)}, info=info, train=train, n_syn=4)


def by_hand(folder, images, resolution, side):
    """The published recipe, one image after the other, with Pillow and diffusers alone."""
    network = AutoencoderKL.from_pretrained(str(folder), subfolder="vae", torch_dtype=torch.float32).eval()
    found = []
    for image in images:
        large = Image.fromarray(image).resize((resolution, resolution), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(large)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            decoded = network.decode(network.encode(pixels).latent_dist.mode()).sample[0]
        levels = (127.5 * (decoded.permute(1, 2, 0) + 1)).clamp(0, 255).round().numpy().astype(np.uint8)
        found.append(np.array(Image.fromarray(levels).resize((side, side), Image.Resampling.BICUBIC)))
    return np.stack(found)


@pytest.mark.parametrize(("given", "resolution"), [(None, 32), (64, 64)])
def test_images_are_those_of_the_published_recipe(given, resolution, mini, train, make_context):
    context = make_context("run", n_syn=len(train))
    result = made(plugin(model="mini", resolution=given), train, context)
    expected = by_hand(mini, train.images, resolution, 16)
    assert np.abs(result.images.astype(int) - expected.astype(int)).max() <= 1
    assert not np.array_equal(result.images, train.images)
    assert np.array_equal(result.labels, train.labels)
    assert result.origins == [{"source": number, "resolution": resolution} for number in range(4)]
    transformed = ImageSet.concatenate(list(plugin(model="mini", resolution=given).transform(train, context)))
    assert np.array_equal(transformed.images, result.images)


def test_the_embedded_model_keeps_what_an_image_shows(train, make_context, info):
    """Far nearer than another image, and not the same; it knows grey pictures alone."""
    small = [Image.fromarray(item[:4, :4]).convert("L").convert("RGB") for item in train.images]
    smooth = np.stack([np.asarray(item.resize((16, 16), 3)) for item in small])
    context = make_context("run", n_syn=4, info=replace(info, foundation="glyph-sd"), foundations={})
    result = made(plugin(), train.with_images(smooth), context)
    own = np.abs(result.images.astype(int) - smooth).mean()
    other = np.abs(result.images.astype(int) - np.roll(smooth, 1, axis=0)).mean()
    assert 0 < own < other / 4


def test_there_is_one_image_for_each_real_one_at_most(mini, train, make_context):
    generator = plugin(model="mini")
    assert generator.output_count(20, None, 200) == 20
    assert generator.output_count(20, 500, 200) == 20
    assert generator.output_count(20, 5, 200) == 5
    few = made(generator, train, make_context("few", n_syn=2))
    assert sorted(few.labels) == [0, 1]
    whole = made(generator, train, make_context("whole", n_syn=4))
    sources = [item["source"] for item in few.origins]
    assert np.abs(few.images.astype(int) - whole.images[sources].astype(int)).max() <= 1


def test_a_finished_run_opens_no_foundation(train, make_context, tmp_path):
    context = make_context("run", n_syn=4, completed=1, foundations={"mini": tmp_path / "gone"})
    assert list(plugin(model="mini").sample(train, context)) == []


def test_images_that_are_not_finite_do_not_become_black(mini, train, make_context, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    damaged = {name: np.full_like(value, np.nan) for name, value in load_file(weights).items()}
    save_file(damaged, weights, metadata={"format": "pt"})
    context = make_context("run", n_syn=2, foundations={"mine": folder})
    with pytest.raises(BenchError, match=r"^vae:model=mine: made images that are not finite"):
        made(plugin(model="mine"), train, context)


def test_a_folder_that_is_an_autoencoder_alone_will_do(mini, train, make_context, tmp_path, info):
    folder = tmp_path / "mine"
    shutil.copytree(mini / "vae", folder)
    resolved = plugin(model=str(folder)).resolve(info)
    alone = made(resolved, train, make_context("alone", n_syn=4))
    assert np.array_equal(alone.images, made(plugin(model="mini"), train, make_context("mini", n_syn=4)).images)


def test_what_is_planned(mini, info, tmp_path):
    with pytest.raises(UsageError) as caught:
        plugin(model=str(mini), resolution=100).resolve(info)
    assert str(caught.value) == (
        f"vae:resolution=100: must be a multiple of 8, the reduction of the VAE of model={mini}"
    )
    with pytest.raises(UsageError, match=r"^vae:resolution=4: must be a multiple of 8"):
        plugin(model=str(mini), resolution=4).resolve(info)
    with pytest.raises(UsageError, match=r"^vae:resolution=0: must be at least 1"):
        plugin(resolution=0)
    with pytest.raises(UsageError, match=r"no vae/config\.json in the folder"):
        plugin(model=str(tmp_path)).resolve(info)
    resolved = plugin("paper", model=str(mini)).resolve(replace(info, generate_resolution=128))
    assert (resolved.resolution, resolved.needs().foundations) == (64, (str(mini),))
    alone = plugin("paper", model=str(mini / "vae")).resolve(replace(info, generate_resolution=128))
    assert alone.resolution == 128
