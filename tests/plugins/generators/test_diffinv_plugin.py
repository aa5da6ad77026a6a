import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from benchbench.errors import UsageError
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build, values_of
from benchbench.testing import conformance
from benchbench_plugins.generators.diffinv import DiffusionInversion
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


def no_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")


def broken_json(folder):
    (folder / "vae" / "config.json").write_text("{")


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
