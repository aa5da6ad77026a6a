import json
from dataclasses import replace

import numpy as np
import pytest
from mini_clip import write_mini_clip
from mini_t5 import write_mini_t5

from benchbench.errors import UsageError
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build, values_of
from benchbench.testing import conformance
from benchbench_plugins.generators.lecf import LECF
from benchbench_plugins.generators.lecf.candidates import class_frames, class_of


class Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.fixture(scope="module")
def models(tmp_path_factory, mini):
    """Return SD, T5 and CLIP of the real architectures, randomly initialised, by the names that tests use."""
    folder = tmp_path_factory.mktemp("models")
    return {"mini": mini, "t5": write_mini_t5(folder / "t5"), "clip": write_mini_clip(folder / "clip")}


@pytest.fixture
def info(info):
    return replace(info, prompt="a photo of the class {}.", prompt_names=("one", "two"))


def lecf(preset="quick", **values):
    values = {"language_model": "t5", "clip": "clip", "num_inference_steps": 1, "num_sentences": 3, **values}
    return build(LECF, values, subject="lecf", preset=preset)


@pytest.fixture(scope="module")
def fitted(models, tmp_path_factory):
    """Return a plugin and the folders of its two shards, made on the real path."""
    from generator_info import INFO

    from benchbench.plugins.context import Context

    plugin = lecf(candidates=130, shard_size=70)
    folders = []
    for number, shard in enumerate(plugin.shards(4)):
        folder = tmp_path_factory.mktemp(f"fit-{number}")
        (folder / "scratch").mkdir()
        (folder / "out").mkdir()
        facts = replace(INFO, prompt="a photo of the class {}.", prompt_names=("one", "two"))
        context = Context(
            seed=7, folder=folder / "out", scratch=folder / "scratch", info=facts, foundations=dict(models), shard=shard
        )
        plugin.fit(_train(), context)
        folders.append(context.folder)
    return plugin, tuple(folders)


def _train():
    return ImageSet(np.zeros((4, 16, 16, 3), np.uint8), np.array([0, 0, 1, 1]), ("a", "b"))


def test_candidates_carry_whole_prompts_seeds_and_scores(fitted, info):
    _, folders = fitted
    parts = [ImageSet.load(folder) for folder in folders]
    assert [len(part) for part in parts] == [70, 60]
    whole = ImageSet.concatenate(parts)
    assert whole.images.shape == (130, 16, 16, 3)
    assert whole.labels.tolist() == [0] * 65 + [1] * 65
    assert [origin["candidate"] for origin in whole.origins] == list(range(130))
    assert len({origin["seed"] for origin in whole.origins}) == 130
    sentences = json.loads((folders[0] / "sentences.json").read_text())
    assert set(sentences) == {"0", "1"}
    assert set(json.loads((folders[1] / "sentences.json").read_text())) == {"1"}
    assert sentences["1"] == json.loads((folders[1] / "sentences.json").read_text())["1"]
    frames = class_frames(info, None)
    for place, label in ((0, 0), (1, 0), (4, 0), (65, 1), (67, 1)):
        inside = place - 65 * label
        assert whole.origins[place]["prompt"] == frames[label].prompt(sentences[str(label)][inside % 3])
    table = np.concatenate([np.load(folder / "probabilities.npy") for folder in folders])
    assert table.shape == (130, 2)
    assert table.dtype == np.float32
    assert np.allclose(table.sum(axis=1), 1, atol=1e-5)


def test_scores_are_those_of_the_clip_and_the_templates_prompts(fitted, models):
    from benchbench.models.clip.model import class_probabilities, open_clip_model

    _, folders = fitted
    clip = open_clip_model(models["clip"], "clip")
    images = np.array(ImageSet.load(folders[1]).images)
    expected = class_probabilities(clip, images, ["a photo of the class one.", "a photo of the class two."])
    assert np.allclose(np.load(folders[1] / "probabilities.npy"), expected, atol=1e-4)


def test_another_threshold_chooses_among_the_same_candidates(fitted, make_context):
    plugin, folders = fitted
    table = np.concatenate([np.load(folder / "probabilities.npy") for folder in folders])
    scores = table[np.arange(130), [0] * 65 + [1] * 65]
    for threshold in (0.0, float(np.median(scores)), 0.999):
        context = make_context(f"s {threshold}", fitted=folders, n_syn=40)
        chosen = replace(plugin, clip_threshold=threshold, min_per_class=2)
        images = ImageSet.concatenate(list(chosen.sample(_train(), context)))
        passed = [int((scores[:65] > threshold).sum()), int((scores[65:] > threshold).sum())]
        assert context.facts["passed_per_class"] == passed
        assert len(images) == len(set(origin["candidate"] for origin in images.origins)) <= 40
        for origin, label, pixels in zip(images.origins, images.labels, images.images, strict=True):
            number = origin["candidate"]
            assert origin["clip_score"] == pytest.approx(scores[number], abs=1e-6)
            assert scores[number] > threshold or passed[label] < 2
            place, row = (folders[0], number) if number < 70 else (folders[1], number - 70)
            assert np.array_equal(ImageSet.load(place).images[row], pixels)
        assert context.facts["sentences_per_class"] == [3, 3]
        assert context.facts["sentences_repeated"] == []


def test_a_threshold_that_empties_a_class_is_one_clear_line(fitted, make_context):
    plugin, folders = fitted
    strict = replace(plugin, clip_threshold=1.0, min_per_class=0)
    with pytest.raises(UsageError, match=r"^lecf:clip_threshold=1: leaves no image of class 'a'"):
        list(strict.sample(_train(), make_context("s", fitted=folders, n_syn=4)))


def test_killed_between_chunks_fit_ends_with_the_same_bytes(fitted, make_context, models, info):
    plugin, folders = fitted

    shared = {"info": info, "foundations": dict(models), "shard": range(70)}
    context = make_context("killed", **shared)
    context.progress = lambda items, label, **_: _dying(items) if label == "generating" else items
    with pytest.raises(Killed):
        plugin.fit(_train(), context)
    assert len(list(context.scratch.glob("generating/part-*"))) == 1
    plugin.fit(_train(), make_context("killed", **shared))
    for file in sorted(item.name for item in folders[0].iterdir()):
        assert (context.folder / file).read_bytes() == (folders[0] / file).read_bytes(), file


def _dying(items):
    yield next(iter(items))
    raise Killed


def test_too_few_sentences_are_repeated_and_reported(models, make_context, info):
    plugin = lecf(candidates=8, top_k=1, clip="none")
    lines = []
    context = make_context("few", info=info, foundations=dict(models), shard=range(8), emit=lines.append)
    plugin.fit(_train(), context)
    assert sum("1 different sentences about 'the class" in event.get("text", "") for event in lines) == 2
    assert not (context.folder / "probabilities.npy").exists()
    sampled = make_context("s", fitted=(context.folder,), n_syn=6)
    images = ImageSet.concatenate(list(plugin.sample(_train(), sampled)))
    assert len(images) == 6
    assert images.counts.tolist() == [3, 3]
    assert "clip_score" not in images.origins[0]
    assert sampled.facts == {"sentences_per_class": [1, 1], "sentences_repeated": ["a", "b"]}


def test_without_a_language_model_prompts_are_plain_class_names(models, make_context, info):
    context = make_context("plain", info=info, foundations=dict(models), shard=range(2))
    lecf(candidates=2, language_model="none", clip="none").fit(_train(), context)
    prompts = [origin["prompt"] for origin in ImageSet.load(context.folder).origins]
    assert prompts == ["a photo of the class one", "a photo of the class two"]


def test_lecf_keeps_what_generators_promise(models, info, train):
    values = {"model": str(models["mini"]), "language_model": str(models["t5"]), "clip": str(models["clip"])}
    values |= {"num_inference_steps": 1, "num_sentences": 3, "candidates": 60, "shard_size": 55, "clip_threshold": 0.3}
    conformance(LECF, name="lecf", values=values, info=info, train=train, n_syn=5)


def test_every_candidate_has_one_class_and_blocks_are_even():
    for total, classes in ((10, 10), (11, 10), (130, 2), (7, 3)):
        labels = [class_of(number, total, classes) for number in range(total)]
        assert labels == sorted(labels)
        sizes = np.bincount(labels, minlength=classes)
        assert sizes.max() - sizes.min() <= 1


def test_shards_and_count_follow_the_candidates():
    assert lecf().total(50) == 1000
    assert [(s.start, s.stop) for s in lecf().shards(50)] == [(0, 500), (500, 1000)]
    assert len(lecf("paper").shards(5000)) <= 64
    assert lecf(candidates=30).output_count(50, None, 500) == 30
    assert lecf().output_count(50, 70, 500) == 70


def test_presets_hold_the_papers_values():
    paper = build(LECF, {}, subject="lecf", preset="paper")
    assert paper.language_model == "mrm8488/t5-base-finetuned-common_gen"
    assert (paper.num_sentences, paper.max_new_tokens, paper.top_k) == (200, 20, 50)
    assert (paper.clip, paper.clip_threshold, paper.min_per_class) == ("timm/resnet50_clip.openai", 0.95, 1)
    assert (paper.guidance_scale, paper.num_inference_steps) == (3.0, 100)
    assert build(LECF, {}, subject="lecf").language_model == "glyph-words"


def test_what_only_choosing_needs_is_not_in_the_key_of_fit():
    plugin = build(LECF, {"clip_threshold": 0.1, "min_per_class": 0, "keep": "best"}, subject="lecf")
    assert values_of(plugin, stage="fit") == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"template": "a photo"}, "template=a photo: must have exactly one {}"),
        ({"template": "{} and {}"}, "must have exactly one {}"),
        ({"candidates": 1}, "lecf:candidates=1: fewer than the 2 classes"),
        ({"language_model": "glyph-sd"}, "lecf:language_model=glyph-sd: "),
        ({"resolution": 12}, "lecf:resolution=12: must be a multiple of 8"),
        ({"scheduler": "Foo"}, "lecf:scheduler=Foo"),
        ({"clip": "glyph-sd"}, "lecf:clip=glyph-sd: "),
    ],
)
def test_what_cannot_work_is_said_while_planning(values, said, models, info):
    with pytest.raises(UsageError) as caught:
        lecf(**{"model": str(models["mini"]), "language_model": "none", **values}).resolve(info).needs()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_embedded_language_model_refuses_classes_that_it_has_no_words_for(info, models):
    zoo = replace(info, prompt="a photo of {}.", prompt_names=("a digit", "a zebra"))
    with pytest.raises(UsageError, match=r"^lecf:language_model=glyph-words: does not know 'zebra' of 'a zebra'"):
        lecf(model=str(models["mini"]), language_model="glyph-words").resolve(zoo)


@pytest.mark.parametrize(
    ("template", "name", "opening", "concept", "ending"),
    [
        ("a photo of the digit {}.", "seven", "a photo of ", "the digit seven", ""),
        ("a centered satellite photo of {}.", "a forest", "a centered satellite photo of ", "a forest", ""),
        ("{}", "a bird", "", "a bird", ""),
        ("an X-ray showing {} from above.", "a lung", "an X-ray showing ", "a lung", " from above"),
    ],
)
def test_a_template_is_taken_apart_around_the_concept(info, template, name, opening, concept, ending):
    (frame, _) = class_frames(replace(info, prompt_names=(name, "x")), template)
    assert frame == (opening, concept, ending)
    assert frame.prompt("A sentence about it. ") == f"{opening}a sentence about it{ending}"
    assert frame.prompt(concept) == f"{opening}{concept}{ending}"
