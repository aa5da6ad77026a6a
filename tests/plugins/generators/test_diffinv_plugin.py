import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchbench.errors import BenchError, UsageError
from benchbench.images import ImageSet
from benchbench.parameters import build, values_of
from benchbench.testing import conformance
from benchbench_plugins.generators.diffinv import DiffusionInversion
from benchbench_plugins.generators.diffinv.layout import read_layout
from benchbench_plugins.generators.diffinv.pipeline import load_parts
from benchbench_plugins.generators.real import Real


def diffinv(preset="quick", **values):
    return build(DiffusionInversion, values, subject="diffinv", preset=preset)


def test_real_is_the_training_set_as_it_is(train, make_context):
    (only,) = Real().sample(train, make_context("real", n_syn=99))
    assert only is train
    assert Real.is_real
    assert not Real.has_fit


@pytest.mark.parametrize("optimizer", ["per-image", "dense-adamw"])
def test_diffinv_keeps_what_generators_promise(optimizer, mini, info, train):
    values = {"model": str(mini), "optimizer": optimizer, "group_size": 3, "batch_size": 2, "shard_size": 3}
    values |= {"checkpoints": (1, 2), "num_inference_steps": 1}
    conformance(DiffusionInversion, name="diffinv", values=values, info=info, train=train, n_syn=5)


def test_real_keeps_what_generators_promise():
    conformance(Real, name="real")


def test_both_stages_from_the_plugin_end_to_end(train, make_context):
    plugin = diffinv(checkpoints="1/2", num_inference_steps=2, guidance_scale="2/3", model="mini", shard_size=3)
    folders = []
    for number, shard in enumerate(plugin.shards(len(train))):
        context = make_context(f"fit {number}", shard=shard)
        plugin.fit(train, context)
        folders.append(context.folder)
    result = ImageSet.concatenate(list(plugin.sample(train, make_context("s", fitted=tuple(folders), n_syn=6))))
    assert result.images.shape == (6, 16, 16, 3)
    assert sorted(np.bincount(result.labels)) == [3, 3]
    assert {item["checkpoint"] for item in result.origins} == {1, 2}


def test_presets_hold_the_papers_values():
    paper = diffinv("paper")
    assert (paper.learning_rate, paper.weight_decay, paper.optimizer) == (0.03, 0.01, "dense-adamw")
    assert paper.checkpoints == (1000, 2000, 3000)
    assert (paper.initial, paper.timestep_sampling, paper.loss_weighting) == ("uniform", "uniform", "none")
    assert (paper.guidance_scale, paper.num_inference_steps) == ((2.0, 3.0, 4.0), 100)
    assert (paper.scheduler, paper.noise_strength, paper.interpolation_strength) == (
        "PNDMScheduler",
        0.1,
        0.1,
    )
    assert diffinv().optimizer == "per-image"


@pytest.mark.parametrize(("side", "group", "batch"), [(28, 500, 100), (32, 1000, 500), (96, 100, 50)])
def test_groups_and_batches_are_the_authors(info, side, group, batch):
    found = diffinv("paper").resolve(replace(info, resolution=side, foundation="mini"))
    assert (found.group_size, found.batch_size) == (group, batch)
    assert (found.model, found.resolution) == ("mini", 32)
    assert found.mixed_checkpoints == (1000, 2000, 3000)
    assert found.resolve(info) == found


def test_what_only_sampling_needs_is_not_in_the_key_of_fit():
    plugin = diffinv(guidance_scale="3", noise_strength=0.2, scheduler="DDIMScheduler", unconditional="class-mean")
    assert values_of(plugin, stage="fit") == {}
    assert set(values_of(plugin, stage="sample")) == {
        "guidance_scale", "noise_strength", "scheduler", "unconditional",
    }  # fmt: skip
    assert values_of(diffinv(sample_batch=3, shard_size=9), stage="sample") == {}


@pytest.mark.parametrize("count", [1, 24, 50, 160, 13_500])
@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_shards_cover_every_image_once_in_order(info, count, preset):
    shards = diffinv(preset).resolve(info).shards(count)
    assert [i for shard in shards for i in shard] == list(range(count))
    assert len(shards) <= 64
    if preset == "paper":
        assert all(shard.start % 500 == 0 for shard in shards[1:])


def test_two_shards_for_the_main_job():
    assert diffinv().shards(50) == (range(25), range(25, 50))


def test_estimates_are_for_the_embedded_foundation_alone(info):
    plugin = diffinv()
    embedded = replace(info, foundation="glyph-sd")
    assert plugin.seconds("fit", 50, info) is None
    assert plugin.seconds("fit", 50, embedded) > 5 * plugin.seconds("fit", 1, embedded)
    assert plugin.seconds("sample", 500, embedded) > plugin.seconds("sample", 50, embedded)


def test_needs_name_the_foundation(info):
    assert diffinv(model="mini").needs().foundations == ("mini",)
    assert not diffinv(model="mini").needs().accelerator
    assert diffinv(model="mini", resolution=256).needs().accelerator


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": "0"}, "diffinv:learning_rate=0: must be above 0"),
        ({"optimizer": "dense"}, "diffinv:optimizer=dense: must be one of per-image, dense-adamw "
            "(did you mean 'dense-adamw'?)"),
        ({"checkpoints": "2/1"}, "diffinv: checkpoints: must ascend"),
        ({"mixed_checkpoints": "5"}, "diffinv: mixed_checkpoints=5: must be among the checkpoints, 600"),
        ({"guidance": "2"}, "diffinv:guidance: unknown parameter (did you mean 'guidance_scale'?)"),
    ],
)  # fmt: skip
def test_mistakes_are_said_in_one_line(values, message):
    with pytest.raises(UsageError) as caught:
        diffinv(**values)
    assert str(caught.value) == message


def test_an_unknown_scheduler_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        diffinv(scheduler="PNDMSchduler").needs()
    assert str(caught.value).startswith(
        "diffinv:scheduler=PNDMSchduler: not a diffusers scheduler for Stable Diffusion (did you mean 'PNDMScheduler'"
    )


def test_planning_imports_no_torch():
    program = (
        "import sys; from benchbench_plugins.generators.diffinv import DiffusionInversion as D;"
        "from benchbench_plugins.generators.real import Real;"
        "D(model='mini', scheduler='DDIMScheduler').needs(); D().shards(9);"
        "assert not {'torch', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_unet(folder):
    shutil.rmtree(folder / "unet")


def pickled(folder):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def no_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def broken_json(folder):
    (folder / "vae" / "config.json").write_text("{")


def inpainting(folder):
    edit(folder / "unet" / "config.json", in_channels=9)


def larger(folder):
    edit(folder / "unet" / "config.json", addition_embed_type="text_time")


def flow(folder):
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="flow_prediction")


def no_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")


LAYOUT = "expected the diffusers layout of Stable Diffusion: unet, vae, scheduler, text_encoder, tokenizer"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_unet, f"mine: no unet/config.json in the folder; {LAYOUT}"),
        (pickled, "mine: vae/ has no safetensors weights, only pickled "
            "diffusion_pytorch_model.bin; convert it"),
        (no_weights, "mine: unet/ has no safetensors weights, none; fetch the folder again"),
        (inpainting, "mine: unet has in_channels 9, the vae makes 4 latent channels; "
            "only plain text-to-image models can be inverted"),
        (larger, "mine: unet needs more than text embeddings (addition_embed_type=text_time), "
            "which is not supported"),
        (flow, "mine: scheduler has prediction_type 'flow_prediction'; "
            "known are epsilon, v_prediction, sample"),
        (no_tokenizer, f"mine: no tokenizer/ in the folder; {LAYOUT}"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_inverted_is_refused_by_its_configuration(mini, tmp_path, spoil, message):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    spoil(folder)
    with pytest.raises(UsageError) as caught:
        read_layout(folder, "mine", text=True)
    assert str(caught.value) == message


def test_a_folder_given_by_path_is_checked_when_planned(mini, tmp_path, info):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    with pytest.raises(UsageError) as caught:
        diffinv(model=str(folder), resolution=20).resolve(info)
    assert str(caught.value).startswith(
        "diffinv:resolution=20: must be a multiple of 8, the reduction of the VAE of model="
    )
    no_tokenizer(folder)
    with pytest.raises(UsageError, match="no tokenizer/"):
        diffinv(model=str(folder)).resolve(info)
    assert diffinv(model=str(folder), initial="uniform").resolve(info).model == str(folder)
    broken_json(folder)
    with pytest.raises(UsageError, match=r"vae/config\.json cannot be read as JSON"):
        diffinv(model=str(folder), initial="uniform").resolve(info)


def opening(folder):
    with pytest.raises(BenchError) as caught:
        load_parts(folder, "mine", device="cpu", precision="fp32")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_truncated_weights_are_one_line(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    assert opening(folder).startswith("mine: unet/ cannot be opened (")


def test_missing_weights_are_not_filled_with_noise(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_in.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    assert opening(folder) == (
        "mine: unet/ lacks 1 weights that its config.json asks for (first: conv_in.weight); fetch the folder again"
    )
