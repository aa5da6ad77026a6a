import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchbench.errors import BenchError, UsageError
from benchbench.models import generators
from benchbench.models.diffusion.sampling import open_text_to_image
from benchbench.models.resize import resized
from benchbench.plugins.context import derive_seed
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build, values_of
from benchbench.testing import conformance
from benchbench_plugins.generators.prompt import Prompt

SHORT = {"num_inference_steps": 1, "guidance_scale": 1.0}


def plugin(preset="quick", **values):
    return build(Prompt, values, subject="prompt", preset=preset)


def made(generator, train, context):
    return ImageSet.concatenate(list(generator.sample(train, context)))


def test_it_keeps_what_generators_promise_with_a_model_of_the_real_architecture(mini, info, train, monkeypatch):
    monkeypatch.setattr(generators, "CHUNK", 3)
    values = {"model": str(mini), "num_inference_steps": 2, "scheduler": "EulerAncestralDiscreteScheduler"}
    conformance(Prompt, name="prompt", values=values, info=info, train=train, n_syn=5)


def test_images_are_those_of_the_class_prompts_in_turn(mini, info, train, make_context):
    """End to end against the loader asked by hand: prompts, seeds, settings, resizing, labels and origins."""
    named = replace(info, prompt="a picture of {}!", prompt_names=("zero", "one"))
    values = {"model": "mini", "num_inference_steps": 3, "guidance_scale": 4.0, "scheduler": "DDIMScheduler"}
    context = make_context("run", n_syn=5, info=named)
    result = made(plugin(negative_prompt="the", **values), train, context)
    assert result.labels.tolist() == [0, 1, 0, 1, 0]
    assert result.classes == train.classes
    prompts = [f"a picture of {('zero', 'one')[label]}!" for label in result.labels]
    seeds = [derive_seed(context.seed, "prompt", number) for number in range(5)]
    assert [(item["prompt"], item["seed"]) for item in result.origins] == list(zip(prompts, seeds, strict=True))
    assert result.origins[0] == {
        "prompt": "a picture of zero!", "negative_prompt": "the", "seed": seeds[0], "guidance_scale": 4.0,
        "num_inference_steps": 3, "scheduler": "DDIMScheduler",
    }  # fmt: skip
    model = open_text_to_image(mini, "mini", device="cpu", precision="fp32", scheduler="DDIMScheduler", subject="toy")
    expected = model.generate(
        prompts, seeds, guidance_scale=4.0, num_inference_steps=3, resolution=32, negative_prompt="the"
    )
    assert np.array_equal(result.images, resized(expected, 16, "bicubic"))


def test_more_images_begin_with_the_same_ones_whatever_the_batch(mini, train, make_context):
    few = made(plugin(model="mini", **SHORT), train, make_context("few", n_syn=3))
    many = made(plugin(model="mini", sample_batch=2, **SHORT), train, make_context("many", n_syn=7))
    assert np.abs(few.images.astype(int) - many.images[:3].astype(int)).max() <= 1
    assert few.origins == many.origins[:3]
    assert len(np.unique(many.images.reshape(7, -1), axis=0)) == 7
    assert many.counts.tolist() == [4, 3]


def test_a_template_of_ones_own_and_class_names_without_prompt_names(train, make_context):
    result = made(plugin(model="mini", template="an image {}", **SHORT), train, make_context("run", n_syn=2))
    assert [item["prompt"] for item in result.origins] == ["an image a", "an image b"]


def test_a_finished_run_opens_no_foundation(train, make_context, tmp_path):
    context = make_context("run", n_syn=5, completed=1, foundations={"mini": tmp_path / "gone"})
    assert list(plugin(model="mini").sample(train, context)) == []


def test_images_that_are_not_finite_do_not_become_black(mini, train, make_context, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    damaged = {name: np.full_like(value, np.nan) for name, value in load_file(weights).items()}
    save_file(damaged, weights, metadata={"format": "pt"})
    context = make_context("run", n_syn=2, foundations={"mine": folder})
    with pytest.raises(BenchError, match=r"^prompt:model=mine: made images that are not finite"):
        made(plugin(model="mine", num_inference_steps=1), train, context)


def test_presets():
    paper = plugin("paper")
    assert (paper.guidance_scale, paper.num_inference_steps, paper.scheduler) == (7.5, 50, "PNDMScheduler")
    assert plugin().guidance_scale == 2.0
    assert values_of(plugin(sample_batch=3), stage="sample") == {}
    assert not Prompt.has_fit


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "{} {", "{name}"])
def test_a_template_needs_exactly_one_place_for_the_class(template):
    with pytest.raises(UsageError) as caught:
        plugin(template=template)
    assert str(caught.value) == (f"prompt: template={template}: must have exactly one {{}}, where the class name goes")


def test_a_model_a_resolution_and_a_scheduler_that_do_not_fit_are_found_when_planned(mini, tmp_path, info):
    with pytest.raises(UsageError, match=r"^prompt:resolution=20: must be a multiple of 8"):
        plugin(model=str(mini), resolution=20).resolve(info)
    with pytest.raises(UsageError, match=r"^prompt:scheduler=DDMScheduler: not a diffusers scheduler"):
        plugin(scheduler="DDMScheduler").needs()
    (tmp_path / "mk.py").write_text("")
    with pytest.raises(UsageError, match=r"^prompt:model=.*mk\.py: is a file; give a model's folder"):
        plugin(model=str(tmp_path / "mk.py")).resolve(info)
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(UsageError, match=r"^prompt:model=.*no text_encoder/config\.json in the folder"):
        plugin(model=str(folder)).resolve(info)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "time_cond_proj_dim": 256}))
    (folder / "text_encoder").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(mini / "text_encoder" / name, folder / "text_encoder")
    with pytest.raises(UsageError, match=r"needs more than text embeddings \(time_cond_proj_dim=256\)"):
        plugin(model=str(folder)).resolve(info)


def test_what_is_planned(info):
    resolved = plugin().resolve(replace(info, foundation="unknown/model"))
    assert (resolved.model, resolved.resolution, resolved.template) == ("unknown/model", 32, "a photo of {}.")
    assert resolved.needs().foundations == ("unknown/model",)
    assert not resolved.needs().accelerator
    assert replace(resolved, resolution=512).needs().accelerator


def test_planning_imports_no_torch():
    program = (
        "import sys\n"
        "from benchbench_plugins.generators.prompt import Prompt\n"
        "from benchbench_plugins.generators.real_guidance import RealGuidance\n"
        "from benchbench_plugins.generators.vae import VAE\n"
        "assert 'numpy' not in sys.modules\n"
        "for kind in (Prompt, RealGuidance, VAE):\n"
        "    kind(model='mini').needs()\n"
        "assert not {'torch', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
