"""``probe``: the regression against other minimisers, the features against timm, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import few_shot
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from timm.models import save_for_hf

from benchbench.errors import BenchError, UsageError
from benchbench.models.clip.model import open_clip_model
from benchbench.plugins import ImageSet
from benchbench.plugins.locate import locate
from benchbench.plugins.parameters import build
from benchbench_plugins.learners import probe
from benchbench_plugins.learners.probe import NO_MODEL, Probe
from benchbench_plugins.learners.probe.features import BATCH, Features
from benchbench_plugins.learners.probe.fit import GRID, Regression, image_weights
from benchbench_plugins.learners.probe.formats import EXPECTED, recognised

PENALTY = 0.05


def make(**values):
    return build(Probe, {"model": "glyph-clip", **values}, subject="probe")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny network of timm with random weights, as timm's hub has it, with statistics that batch norm has learned."""
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=7)
    net(torch.randn(64, 3, 32, 32))
    folder = tmp_path_factory.mktemp("models") / "mine"
    save_for_hf(net, folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def blobs():
    """Features of three classes that overlap, of very different scales, with weights of two sources."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    rows = rng.normal(0, 1, (60, 5)) + rng.normal(0, 1, (3, 5))[labels]
    rows = (rows * [1, 10, 0.1, 1000, 1] + [0, 50, 0, 0, 3]).astype(np.float32)
    return rows, labels, image_weights({"real": 20, "synthetic": 40}, (1, 3))


# -- the regression ----------------------------------------------------------------------------------------------------


def test_weights_share_the_ratio_whatever_the_numbers():
    assert image_weights({"real": 2, "synthetic": 4}, (1, 3)).tolist() == [0.125] * 2 + [0.1875] * 4
    assert image_weights({"synthetic": 4}, (0, 1)).tolist() == [0.25] * 4
    assert image_weights({"real": 5}, None).tolist() == [0.2] * 5


def test_the_minimum_is_that_of_the_written_formula(blobs):
    rows, labels, weights = blobs
    regression = Regression(rows, labels, weights, 3)
    regression.fit(PENALTY)
    mean = np.average(rows, axis=0, weights=weights)
    standard = (rows - mean) / np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))

    def value(flat):
        matrix, intercept = flat[:15].reshape(5, 3), flat[15:]
        losses = -log_softmax(standard @ matrix + intercept, axis=1)[np.arange(60), labels]
        return weights @ losses + PENALTY / 2 * (matrix**2).sum()

    best = minimize(value, np.zeros(18), method="BFGS", options={"gtol": 1e-7}).x
    expected = np.exp(log_softmax(standard @ best[:15].reshape(5, 3) + best[15:], axis=1))
    np.testing.assert_allclose(regression.probabilities(rows), expected, atol=2e-4)


def test_a_weight_is_so_many_copies(blobs):
    """1:3 of 20 and 40 images is scikit-learn's own fit with the generated ones written down 3 times, the real 2."""
    rows, labels, weights = blobs
    regression = Regression(rows, labels, weights, 3)
    regression.fit(PENALTY)
    places = np.concatenate([np.repeat(np.arange(20), 2), np.repeat(np.arange(20, 60), 3)])
    repeated = rows[places].astype(np.float64)
    mean, deviation = repeated.mean(axis=0), repeated.std(axis=0)
    plain = LogisticRegression(C=1 / (PENALTY * len(places)), tol=1e-8, max_iter=5000)
    plain.fit((repeated - mean) / deviation, labels[places])
    expected = plain.predict_proba((rows - mean) / deviation)
    np.testing.assert_allclose(regression.probabilities(rows), expected, atol=2e-4)
    hits = expected.argmax(axis=1) == labels
    assert regression.train_accuracy() == pytest.approx(float(hits[places].mean()))


def test_features_that_say_nothing_change_nothing(blobs):
    rows, labels, weights = blobs
    constant = np.full((60, 2), 1e5, np.float32)
    constant[::2, 1] = np.nextafter(constant[0, 1], np.float32(2e5))  # differs by rounding alone
    answers = []
    for given in (rows, np.hstack([rows, constant])):
        regression = Regression(given, labels, weights, 3)
        regression.fit(PENALTY)
        answers.append(regression.probabilities(given))
    np.testing.assert_allclose(answers[0], answers[1], atol=2e-4)


@pytest.mark.parametrize(("kept", "seen"), [([0, 2], [0, 2]), ([1], [1])])
def test_classes_without_an_image_are_never_answered(blobs, kept, seen):
    rows, labels, _ = blobs
    mine = np.isin(labels, kept)
    regression = Regression(rows[mine], labels[mine], np.ones(mine.sum()), 4)
    regression.fit(PENALTY)
    found = regression.probabilities(rows)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert sorted(set(found.argmax(axis=1).tolist())) == seen
    assert (found[:, [label for label in range(4) if label not in seen]] == 0).all()


def test_the_penalty_is_the_best_on_validation_images(blobs):
    rows, labels, weights = blobs
    rng = np.random.default_rng(1)
    held_out = (rows + rng.normal(0, 1, rows.shape) * rows.std(axis=0)).astype(np.float32)
    regression = Regression(rows, labels, weights, 3)
    penalty, accuracy = regression.choose(held_out, labels)
    scores = {}
    for each in GRID:
        fresh = Regression(rows, labels, weights, 3)
        fresh.fit(each)
        found = fresh.probabilities(held_out)
        loss = -np.log(found[np.arange(60), labels]).mean()
        scores[each] = ((found.argmax(axis=1) == labels).mean(), -loss)
    assert penalty == max(scores, key=scores.__getitem__)
    assert accuracy == scores[penalty][0]
    fresh.fit(penalty)
    np.testing.assert_allclose(regression.probabilities(rows), fresh.probabilities(rows), atol=2e-4)


def test_a_fit_that_did_not_converge_says_so(blobs, monkeypatch):
    monkeypatch.setattr("benchbench_plugins.learners.probe.fit.STEPS", 2)
    rows, labels, weights = blobs
    regression = Regression(rows, labels, weights, 3)
    regression.fit(1e-6)
    assert (regression.steps, regression.converged) == (2, False)


# -- the features ------------------------------------------------------------------------------------------------------


def test_features_are_those_of_timm_before_its_head(folder, tmp_path):
    context = few_shot.context(tmp_path)
    features = Features(recognised(folder, "probe"), folder, "probe", 32, context)
    images = few_shot.digits("test").subset(range(BATCH + 5))
    bare = timm.create_model("test_resnet", num_classes=0).eval()
    bare.load_state_dict({k: v for k, v in load_file(folder / "model.safetensors").items() if k in bare.state_dict()})
    pixels = torch.from_numpy(np.array(images.images)).permute(0, 3, 1, 2)
    pixels = torch.nn.functional.interpolate(pixels, size=32, mode="bicubic", antialias=True) / 255
    mean, std = (torch.tensor(bare.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = bare((pixels - mean) / std).numpy()
    np.testing.assert_allclose(features.of(images, "some"), expected, rtol=1e-4, atol=1e-5)
    assert expected.std(axis=0).max() > 0.01


def test_a_transformer_is_made_for_the_side(tmp_path):
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_vit", num_classes=3), tmp_path / "vit", safe_serialization=True)
    frozen = recognised(tmp_path / "vit", "probe")
    for side, found in ((None, 160), (64, 64)):
        features = Features(frozen, tmp_path / "vit", "probe", side, few_shot.context(tmp_path))
        assert features.side == found
        assert features.of(few_shot.digits("test").subset(range(3)), "some").shape == (3, 64)


def test_features_of_a_clip_are_its_embeddings(tmp_path):
    place = locate("glyph-clip")
    features = Features(recognised(place, "probe"), place, "probe", None, few_shot.context(tmp_path))
    images = few_shot.digits("test").subset(range(70))
    expected = open_clip_model(place, "it").encode_images(images.images)
    np.testing.assert_array_equal(features.of(images, "some"), expected)


# -- trainings ---------------------------------------------------------------------------------------------------------


def test_reads_the_digits_and_says_how(tmp_path):
    outcome, result = few_shot.trained(make(), few_shot.task(5), few_shot.context(tmp_path))
    assert result.accuracy > 0.9
    recipe = result.details["recipe"]
    assert recipe["model"] == "glyph-clip"
    assert (recipe["features"], recipe["penalty"], recipe["penalty_is"]) == (64, 0.1, "given")
    assert recipe["converged"]
    assert 0 < outcome.steps < 1000
    assert outcome.parameters == 65 * 10
    assert result.details["training_images"] == {"real": 50}
    assert result.details["learning"]["train_accuracy"] == 1.0
    assert result.details["learning"]["converged"] is True
    assert "validation_accuracy" not in result.details


def test_a_seed_changes_nothing(tmp_path):
    one, two = (make().train(few_shot.task(), few_shot.context(tmp_path, f"{seed}", seed)) for seed in (1, 2))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)


def test_copies_of_the_real_images_change_nothing(tmp_path):
    alone, context = few_shot.task(), few_shot.context(tmp_path)
    twice = ImageSet(*(np.concatenate([x, x]) for x in (alone.real.images, alone.real.labels)), alone.real.classes)
    mixed = dataclasses.replace(alone, synthetic=twice, mix=(1, 1))
    first, second = make().train(alone, context), make().train(mixed, context)
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=2e-4)
    assert second.details["training_images"] == {"real": 20, "synthetic": 40}


@pytest.mark.parametrize("copies", range(2, 12))
def test_the_share_of_its_own_images_is_never_above_all(copies):
    """As the weights of some numbers of images are, whose sum is rounded."""
    rows = np.concatenate([np.full((50, 1), -1.0), np.full((50, 1), 1.0)]).astype(np.float32)
    rows, labels = np.concatenate([rows, *[rows] * copies]), np.tile(np.repeat([0, 1], 50), copies + 1)
    weights = image_weights({"real": 100, "synthetic": 100 * copies}, (1, 1))
    regression = Regression(rows, labels, weights, 2)
    regression.fit(PENALTY)
    assert regression.train_accuracy() == pytest.approx(1.0)
    assert regression.train_accuracy() <= 1


def test_a_mix_is_between_its_sources(tmp_path):
    """The generated images are those of other labels, so that the heavier source decides."""
    task, context = few_shot.task(5), few_shot.context(tmp_path)
    wrong = ImageSet(task.real.images, (task.real.labels + 1) % 10, task.real.classes)
    right = []
    for mix in ((9, 1), (1, 1), (1, 9)):
        answers = make().train(dataclasses.replace(task, synthetic=wrong, mix=mix), context).probabilities
        right.append(float((answers.argmax(axis=1) == few_shot.labels()).mean()))
    assert right[0] > 0.9 > right[1] > 0.1 > right[2]


def test_a_penalty_is_chosen_on_validation_images_and_never_on_test(tmp_path):
    chooses = make(penalty="none")
    task, context = few_shot.task(), few_shot.context(tmp_path)
    chosen = chooses.train(task, context)
    assert chosen.details["recipe"]["penalty_is"] == "chosen on validation images"
    assert chosen.details["validation_accuracy"] > 0.8
    fewer = chooses.train(dataclasses.replace(task, test=few_shot.digits("test").subset([0]).without_labels()), context)
    assert fewer.details["recipe"] == chosen.details["recipe"]
    blind = chooses.train(dataclasses.replace(task, validation=task.validation.subset([])), context)
    assert blind.details["recipe"]["penalty"] == probe.PENALTY
    assert blind.details["recipe"]["penalty_is"] == "no validation images to choose it on"


def test_a_class_that_a_filter_left_out_is_reported(tmp_path):
    task, told = few_shot.task(), []
    context = few_shot.context(tmp_path, emit=lambda event: told.append(event.get("text")))
    real = task.real.subset(np.flatnonzero(task.real.labels != 3))
    outcome = make().train(dataclasses.replace(task, real=real), context)
    assert outcome.details["classes_without_images"] == ["3"] == [task.info.classes[3]]
    assert "probe:model=glyph-clip: no training image of 3; none is answered" in told
    assert not outcome.probabilities[:, 3].any()


def test_a_folder_of_timm_is_trained_on_from_end_to_end(folder, tmp_path):
    outcome, result = few_shot.trained(
        make(model=str(folder), resolution=32), few_shot.task(20), few_shot.context(tmp_path)
    )
    assert result.accuracy > 0.4  # of random features, where chance is 0.1
    assert outcome.details["recipe"]["model"] == "mine"
    assert str(tmp_path) not in json.dumps(outcome.details)


# -- what is refused ---------------------------------------------------------------------------------------------------


def said(call):
    with pytest.raises(UsageError) as raised:
        call()
    return str(raised.value)


def test_without_a_model_it_names_the_folder_option():
    bare = build(Probe, {}, subject="probe")
    assert bare.needs().foundations == ()
    assert said(lambda: bare.resolve(few_shot.INFO)) == f"probe: {NO_MODEL}"
    assert "--learner probe:model=FOLDER" in NO_MODEL
    assert "glyph-clip knows grey characters" in NO_MODEL


def test_what_gives_no_features(tmp_path):
    for model in ("glyph-sd", str(tmp_path)):
        assert said(make(model=model).needs) == f"probe:model={model}: gives no features of images; {EXPECTED}"


def test_a_network_that_timm_does_not_have(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text()) | {"architecture": "no_such_net"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert said(lambda: make(model=str(tmp_path)).resolve(few_shot.INFO)) == (
        f"probe:model={tmp_path}: config.json names 'no_such_net', which this timm {timm.__version__} does not have"
    )


def test_a_clip_has_its_own_side():
    told = "this CLIP sees images of 32 px and of no other side; leave resolution out"
    assert said(lambda: make(resolution=64).resolve(few_shot.INFO)) == f"probe:model=glyph-clip: {told}"
    assert make(resolution=32).resolve(few_shot.INFO) == make(resolution=32)


def test_features_that_are_no_numbers(folder, tmp_path):
    """Weights that are finite and overflow."""
    weights = load_file(folder / "model.safetensors")
    large = {name: weight * 1e37 for name, weight in weights.items() if ".bn" in name and name.endswith("weight")}
    save_file(weights | large, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    learner = make(model=str(tmp_path), resolution=32)
    with pytest.raises(
        BenchError, match=r"^probe:model=.*: gave features that are not finite; fetch the folder again$"
    ):
        learner.train(few_shot.task(), few_shot.context(tmp_path))
