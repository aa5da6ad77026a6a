from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from benchbench.models.diffusion.parts import encode_prompts
from benchbench.plugins.images import ImageSet
from benchbench_plugins.generators.diffinv import DiffusionInversion, sampling
from benchbench_plugins.generators.diffinv.inversion import embeddings_file
from benchbench_plugins.generators.diffinv.sampling import Sampler, Variant, sample_variants

PLUGIN = DiffusionInversion(
    model="mini",
    num_tokens=5,
    resolution=32,
    interpolation="bicubic",
    guidance_scale=(2.0,),
    checkpoints=(2, 5),
    mixed_checkpoints=(5,),
    num_inference_steps=2,
    scheduler="DPMSolverMultistepScheduler",
    noise_strength=0.1,
    interpolation_strength=0.25,
    unconditional="mean",
    sample_batch=50,
)
TABLES = {n: np.random.default_rng(n).normal(size=(4, 5, 768)).astype(np.float32) for n in (2, 5)}


@pytest.fixture
def fitted(tmp_path):
    """Two shards whose embeddings are known, given in the wrong order."""
    folders = []
    for number, rows in enumerate(([2, 3], [0, 1])):
        folder = tmp_path / f"shard {number}"
        folder.mkdir()
        for visits, table in TABLES.items():
            save_file({"embeddings": table[rows], "index": np.array(rows)}, folder / embeddings_file(visits))
        folders.append(folder)
    return tuple(folders)


def made(train, context, plugin=PLUGIN):
    return ImageSet.concatenate(list(sample_variants(train, context, plugin)))


def test_images_do_not_depend_on_the_inference_batch(train, make_context, fitted, monkeypatch):
    monkeypatch.setattr(sampling, "CHUNK", 6)
    context = make_context("run", fitted=fitted, n_syn=10)
    whole, single = (made(train, context, replace(PLUGIN, sample_batch=size)) for size in (50, 1))
    assert np.abs(whole.images.astype(int) - single.images.astype(int)).max() <= 1
    assert whole.origins == single.origins
    assert len(np.unique(whole.images.reshape(10, -1), axis=0)) == 10


def test_a_killed_run_continues_behind_its_last_chunk_with_the_same_bytes(train, make_context, fitted, monkeypatch):
    monkeypatch.setattr(sampling, "CHUNK", 3)
    first = list(sample_variants(train, make_context("run", fitted=fitted, n_syn=8), PLUGIN))
    again = list(sample_variants(train, make_context("run", fitted=fitted, n_syn=8, completed=2), PLUGIN))
    assert [len(part) for part in first] == [3, 3, 2]
    assert len(again) == 1
    assert np.array_equal(again[0].images, first[2].images)
    assert again[0].origins == first[2].origins


def test_a_finished_run_opens_no_foundation(train, make_context, fitted, tmp_path):
    context = make_context("run", fitted=fitted, n_syn=8, completed=1, foundations={"mini": tmp_path / "gone"})
    assert list(sample_variants(train, context, PLUGIN)) == []


def test_every_image_has_its_label_its_size_and_its_origin(train, make_context, fitted):
    plugin = replace(PLUGIN, guidance_scale=(2.0, 4.0), mixed_checkpoints=(2, 5))
    result = made(train, make_context("run", fitted=fitted, n_syn=9), plugin)
    assert result.images.shape == (9, 16, 16, 3)
    assert result.classes == train.classes
    for label, origin in zip(result.labels, result.origins, strict=True):
        assert label == train.labels[origin["source"]] == train.labels[origin["partner"]]
        assert set(origin) == {
            "source", "partner", "guidance_scale", "checkpoint", "noise_strength", "interpolation_strength",
            "seed", "num_inference_steps", "scheduler",
        }  # fmt: skip
    assert {(item["guidance_scale"], item["checkpoint"]) for item in result.origins[:4]} == {
        (2.0, 2), (2.0, 5), (4.0, 2), (4.0, 5),
    }  # fmt: skip


def test_an_image_alone_in_its_class_is_not_interpolated(train, make_context, fitted):
    alone = ImageSet(train.images, np.array([0, 0, 0, 1]), train.classes)
    result = made(alone, make_context("run", fitted=fitted, n_syn=4))
    assert result.origins[3]["partner"] is None
    assert result.origins[3]["interpolation_strength"] == 0.0
    assert result.origins[0]["interpolation_strength"] == 0.25


def test_conditioning_is_interpolation_plus_noise(train, make_context, fitted):
    variant = Variant(source=0, partner=1, guidance_scale=2.0, checkpoint=5, seed=3)
    between = 0.75 * TABLES[5][0] + 0.25 * TABLES[5][1]
    quiet = Sampler(train, make_context("run", fitted=fitted), replace(PLUGIN, noise_strength=0.0))
    np.testing.assert_allclose(quiet.conditioning(variant, torch.Generator()), between, rtol=1e-5, atol=1e-6)
    alone = quiet.conditioning(replace(variant, partner=None), torch.Generator())
    np.testing.assert_array_equal(alone, TABLES[5][0])
    loud = Sampler(train, make_context("run", fitted=fitted), replace(PLUGIN, noise_strength=0.5))
    noise = loud.conditioning(variant, torch.Generator().manual_seed(3)).numpy() - between
    assert noise.std() == pytest.approx(0.5, rel=0.05)
    assert noise.mean() == pytest.approx(0.0, abs=0.03)


def test_unconditional_inputs(train, make_context, fitted, mini):
    variant = Variant(source=2, partner=3, guidance_scale=2.0, checkpoint=5, seed=3)
    expected = {
        "mean": TABLES[5].mean(axis=0),
        "class-mean": TABLES[5][2:].mean(axis=0),
        "empty-prompt": encode_prompts(mini, "mini", [""], 5, "diffinv")[0].numpy(),
    }
    for choice, wanted in expected.items():
        sampler = Sampler(train, make_context("run", fitted=fitted), replace(PLUGIN, unconditional=choice))
        np.testing.assert_allclose(sampler.unconditional(variant), wanted, rtol=1e-5, atol=1e-6)
