"""Opening embedded folders and published files, and what is said when they are something else."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from mini_biggan import INFO, MINI, random_biggan, write_folder

from benchbench.errors import BenchError, UsageError
from benchbench_plugins.generators.biggan.layout import BigGANConfig, config_of, read_biggan_layout
from benchbench_plugins.generators.biggan.network import load_biggan, open_biggan


@pytest.fixture(scope="module")
def model():
    return random_biggan()


@pytest.fixture
def folder(model, tmp_path):
    return write_folder(model, tmp_path / "gan", ("b", "a"))


@pytest.fixture
def pth(model, tmp_path):
    path = tmp_path / "gan.pth"
    torch.save(dict(model.state_dict()), path)
    return path


def refused(place, info=INFO, kind=UsageError):
    with pytest.raises(kind) as caught:
        open_biggan(place, "it", info)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("biggan:model=it: ")
    return text


def images(generator, labels):
    z = torch.randn(len(labels), MINI.dim_z, generator=torch.Generator().manual_seed(0))
    return generator(z, torch.tensor(labels))


def test_a_folder_is_matched_by_class_name_and_a_file_by_order(folder, pth, model):
    by_name, by_order = open_biggan(folder, "it", INFO), open_biggan(pth, "it", INFO)
    assert torch.equal(images(by_name, [0, 1, 1]), images(by_order, [1, 0, 0]))
    z = torch.randn(1, MINI.dim_z, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(images(by_order, [1]), model(z, torch.tensor([1])), atol=2e-5, rtol=0)


def test_a_folder_with_more_classes_than_the_dataset_serves_those(tmp_path):
    model = random_biggan(replace(MINI, n_classes=3))
    generator = open_biggan(write_folder(model, tmp_path / "three", ("b", "c", "a")), "it", INFO)
    z = torch.randn(2, MINI.dim_z, generator=torch.Generator().manual_seed(0))
    made = generator(z, torch.tensor([0, 1]))
    torch.testing.assert_close(made, model(z, torch.tensor([2, 0])), atol=2e-5, rtol=0)


def test_a_folder_with_one_pth_is_that_file(pth, tmp_path):
    assert read_biggan_layout(tmp_path, "it").weights == pth
    (tmp_path / "other.pth").write_bytes(b"")
    assert "holds 2 .pth files" in refused(tmp_path)


def test_the_shape_of_a_published_file_is_read_off():
    for config in (MINI, BigGANConfig(), BigGANConfig(n_classes=100)):
        assert config_of(config.shapes(), "it").shapes() == config.shapes()
    assert config_of(BigGANConfig(n_classes=100).shapes(), "it") == BigGANConfig(n_classes=100)


def test_other_classes_are_named(folder, pth):
    other = replace(INFO, name="eurosat", classes=("AnnualCrop", "Forest"))
    text = refused(folder, other)
    assert "knows the classes b, a; the dataset eurosat has AnnualCrop, Forest" in text
    three = replace(INFO, classes=("a", "b", "c"))
    assert "has 2 classes; the dataset toy has 3" in refused(pth, three)
    assert "knows the classes" in refused(folder, three)


def test_wrong_names_and_shapes_are_named(model, pth, folder):
    state = dict(model.state_dict())
    del state["blocks.1.0.bn2.bias.weight"]
    torch.save(state, pth)
    assert "lacks blocks.1.0.bn2.bias.weight" in refused(pth)
    torch.save({**model.state_dict(), "shared.weight": torch.zeros(2)}, pth)
    assert "has shared.weight, which a BigGAN generator has not" in refused(pth)
    torch.save({**model.state_dict(), "blocks.0.0.conv2.bias": torch.zeros(7)}, pth)
    assert "blocks.0.0.conv2.bias has shape 7, not 12" in refused(pth)
    torch.save({"conv1.weight": torch.zeros(3, 3)}, pth)
    assert "no usable linear.weight; it holds conv1.weight" in refused(pth)
    torch.save({**model.state_dict(), "linear.bias": torch.full((256,), float("nan"))}, pth)
    assert "linear.bias is not finite" in refused(pth, kind=BenchError)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dim_z": 9}))
    assert "linear.weight has shape 256x8, not 256x9" in refused(folder)


def test_no_code_in_a_checkpoint_is_run(pth, tmp_path):
    class Planted:
        def __reduce__(self):
            return (open, (str(tmp_path / "planted"), "w"))

    torch.save({"net": Planted()}, pth)
    assert "holds Python objects" in refused(pth)
    pth.write_bytes(pickle.dumps(Planted(), protocol=2))
    refused(pth)
    assert not (tmp_path / "planted").exists()
    torch.save({"state_dict": {"linear.weight": torch.zeros(2)}}, pth)
    assert "holds a dict of state_dict" in refused(pth)
    torch.save(torch.zeros(3), pth)
    assert "holds Tensor" in refused(pth)
    pth.write_bytes(b"")
    refused(pth)
    pth.write_bytes(b"<html>not found</html>")
    refused(pth)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"architecture": "GlyphCNN"}, "architecture is 'GlyphCNN'"),
        ({"G_ch": "4"}, "G_ch is '4'"),
        ({"dim_z": 0}, "dim_z is 0"),
        ({"multipliers": [4]}, "multipliers is [4]"),
        ({"classes": ["a", "a"]}, "classes must list 2 different names"),
    ],
)
def test_a_wrong_configuration_is_refused_without_loading_weights(folder, change, says):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UsageError) as caught:
        read_biggan_layout(folder, "biggan:model=it")
    assert says in str(caught.value)


def test_other_places_are_refused(tmp_path, folder):
    assert "has no config.json and no .pth" in refused(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"")
    assert "not a BigGAN" in refused(tmp_path / "x.bin")
    (folder / "config.json").write_text("{")
    assert "not readable JSON" in refused(folder)


def test_damaged_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    assert "cannot be read (truncated or damaged); fetch it again" in refused(folder)
    assert "model.safetensors: cannot be read" in refused(folder)
    weights.write_bytes(b"\0" * 4)
    assert "not a safetensors file" in refused(folder)
    weights.unlink()
    assert "model.safetensors is missing" in refused(folder)


def test_a_truncated_checkpoint_is_said_in_our_words(pth):
    content = pth.read_bytes()
    for length in (len(content) // 2, len(content) - 30):
        pth.write_bytes(content[:length])
        assert refused(pth).endswith("cannot be read (truncated or damaged); fetch it again")


def test_loading_does_not_touch_the_global_random_state(folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_biggan(read_biggan_layout(folder, "it"))
    assert torch.equal(torch.get_rng_state(), before)
