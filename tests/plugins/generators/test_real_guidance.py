from dataclasses import replace

import numpy as np
import pytest

from benchbench.errors import BenchError, UsageError
from benchbench.models import generators
from benchbench.models.diffusion.sampling import open_text_to_image
from benchbench.models.resize import resized
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench.testing import conformance
from benchbench_plugins.generators import real_guidance
from benchbench_plugins.generators.real_guidance import RealGuidance, strength_for


def plugin(preset="quick", **values):
    return build(RealGuidance, values, subject="real-guidance", preset=preset)


def made(generator, train, context):
    return ImageSet.concatenate(list(generator.sample(train, context)))


def subset_of(*per_class):
    labels = np.repeat(np.arange(len(per_class)), per_class)
    names = tuple(f"class {number}" for number in range(len(per_class)))
    return ImageSet(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, names)


def test_it_keeps_what_generators_promise_with_a_model_of_the_real_architecture(mini, info, train, monkeypatch):
    monkeypatch.setattr(generators, "CHUNK", 3)
    values = {"model": str(mini), "strength": 0.5, "num_inference_steps": 2, "scheduler": "DDPMScheduler"}
    conformance(RealGuidance, name="real-guidance", values=values, info=info, train=train, n_syn=5)


@pytest.mark.parametrize(
    ("counts", "strength"),
    [
        ((16, 16), 0.15), ((8, 8, 8), 0.2), ((4,), 0.35), ((2, 2), 0.4), ((1, 1, 1), 0.5),
        ((5, 5), 0.35), ((6, 6), 0.2), ((3, 3), 0.35), ((11, 11), 0.2), ((12, 12), 0.15), ((1000, 900), 0.15),
        ((1, 0, 1), 0.5), ((1, 3), 0.4),
    ],
)  # fmt: skip
def test_fewer_images_per_class_are_changed_more(counts, strength):
    assert strength_for(subset_of(*counts)) == strength


def test_images_are_image_to_image_from_every_training_image_in_turn(mini, train, make_context):
    """End to end against the loader asked by hand: sources, labels, prompts, seeds and resizing."""
    context = make_context("run", n_syn=6)
    values = {"num_inference_steps": 10, "scheduler": "DDIMScheduler", "guidance_scale": 3.0}
    result = made(plugin(model="mini", **values), train, context)
    sources = [item["source"] for item in result.origins]
    assert sources[:4] == [0, 1, 2, 3]
    assert sorted(train.labels[sources[4:]]) == [0, 1]
    assert np.array_equal(result.labels, train.labels[sources])
    assert len({item["seed"] for item in result.origins}) == 6
    assert {item["strength"] for item in result.origins} == {0.4}  # two images per class
    assert context.facts == {"strength": 0.4}
    prompts = [("a photo of a.", "a photo of b.")[label] for label in result.labels]
    assert [item["prompt"] for item in result.origins] == prompts
    model = open_text_to_image(mini, "mini", device="cpu", precision="fp32", scheduler="DDIMScheduler", subject="toy")
    expected = model.image_to_image(
        resized(train.images[sources], 32, "bicubic"), prompts, [item["seed"] for item in result.origins],
        strength=0.4, guidance_scale=3.0, num_inference_steps=10,
    )  # fmt: skip
    assert np.array_equal(result.images, resized(expected, 16, "bicubic"))


def test_more_images_begin_with_the_same_rounds_whatever_the_batch(mini, train, make_context):
    values = {"model": "mini", "strength": 1.0, "num_inference_steps": 1}
    few = made(plugin(**values), train, make_context("few", n_syn=4))
    many = made(plugin(sample_batch=3, **values), train, make_context("many", n_syn=8))
    assert np.abs(few.images.astype(int) - many.images[:4].astype(int)).max() <= 1
    assert few.origins == many.origins[:4]
    assert not np.array_equal(many.images[:4], many.images[4:])


def test_presets_hold_the_authors_values():
    paper = plugin("paper")
    assert (paper.guidance_scale, paper.num_inference_steps, paper.scheduler) == (3.0, 100, "DDPMScheduler")
    assert paper.strength is None
    assert all((strength * plugin().num_inference_steps) % 1 == 0 for strength in real_guidance.STRENGTHS.values())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": "0"}, "real-guidance:strength=0: must be above 0"),
        ({"strength": "1.5"}, "real-guidance:strength=1.5: must be at most 1"),
        ({"strength": "0.05", "num_inference_steps": "12"},
            "real-guidance: num_inference_steps=12: a strength of 0.05 is less than one step; "
            "give at least 20 steps or a larger strength"),
        ({"num_inference_steps": "1"},
            "real-guidance: num_inference_steps=1: a strength of 0.5 is less than one step; "
            "give at least 2 steps or a larger strength"),
        ({"template": "a photo"},
            "real-guidance: template=a photo: must have exactly one {}, where the class name goes"),
    ],
)  # fmt: skip
def test_mistakes_are_said_in_one_line(values, message):
    with pytest.raises(UsageError) as caught:
        plugin(**values)
    assert str(caught.value) == message


def test_few_steps_are_refused_only_for_the_strength_that_holds(mini, train, make_context):
    few = plugin(model="mini", num_inference_steps=2)
    one_each = train.subset(np.unique(train.labels, return_index=True)[1])
    assert {item["strength"] for item in made(few, one_each, make_context("one", n_syn=2)).origins} == {0.5}
    with pytest.raises(BenchError) as caught:
        made(few, train, make_context("two", n_syn=2))
    assert str(caught.value) == (
        "real-guidance:num_inference_steps=2: a strength of 0.4 is less than one step; "
        "give at least 3 steps or a larger strength"
    )


def test_what_is_planned(mini, info):
    with pytest.raises(UsageError, match=r"^real-guidance:resolution=20: must be a multiple of 8"):
        plugin(model=str(mini), resolution=20).resolve(info)
    with pytest.raises(UsageError, match=r"^real-guidance:scheduler=DDMScheduler: not a diffusers scheduler"):
        plugin(scheduler="DDMScheduler").needs()
    embedded = replace(info, foundation="glyph-sd")
    assert plugin().resolve(embedded).needs().foundations == ("glyph-sd",)
