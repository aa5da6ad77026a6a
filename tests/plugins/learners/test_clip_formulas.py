"""The arithmetic of the few-shot learners against closed forms, trusted libraries and one another."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import few_shot
import numpy as np
import pytest
import torch
from mini_clip import write_mini_resnet, write_mini_vit
from torch.nn import functional as F

from benchbench.models.clip.model import open_clip_model
from benchbench.plugins.images import ImageSet
from benchbench.plugins.parameters import build
from benchbench_plugins.foundations.glyph import GlyphCLIP
from benchbench_plugins.learners.clip import coop as prompts
from benchbench_plugins.learners.clip import ct as heads
from benchbench_plugins.learners.clip import tip_adapter as adapter
from benchbench_plugins.learners.clip.training import Pool, Setting, half_cosine


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    context = few_shot.context(tmp_path_factory.mktemp("setting"))
    return Setting(adapter.TipAdapter(), few_shot.task(), context)


# -- CoOp ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")

    def make(which):
        if which == "resnet":
            pytest.importorskip("open_clip")
            return open_clip_model(write_mini_resnet(folder / which), which)
        where = GlyphCLIP().folder() if which == "glyph" else write_mini_vit(folder / which, image_size=32)
        return open_clip_model(where, which)

    return make


@pytest.mark.parametrize("which", ["vit", "resnet", "glyph"])
def test_a_context_of_words_gives_the_prompt_of_these_words(clip_of, which):
    clip, names = clip_of(which), ["zero", "one", "two"]
    words = "a photo of the digit"
    vectors = prompts.first_context(clip, 4, words, torch.Generator().manual_seed(0))
    assert len(vectors) == len(clip._tokenize([words])[0].unique()) - (3 if which == "resnet" else 2)
    tokens = prompts.prompt_tokens(clip, names, len(vectors))
    rows = clip.text_features(tokens, prompts.with_context(clip.token_embeddings(tokens), vectors))
    expected = clip.encode_texts([f"{words} {name}." for name in names])
    assert (rows / rows.norm(dim=1, keepdim=True)).numpy() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("which", ["vit", "resnet", "glyph"])
def test_only_the_context_takes_a_gradient(clip_of, which):
    clip = clip_of(which)
    vectors = prompts.first_context(clip, 4, None, torch.Generator().manual_seed(0)).requires_grad_()
    tokens = prompts.prompt_tokens(clip, ["zero", "one"], 4)
    embeddings = prompts.with_context(clip.token_embeddings(tokens), vectors)
    clip.text_features(tokens, embeddings).square().sum().backward()
    assert vectors.grad.shape == vectors.shape
    assert (vectors.grad.abs().sum(dim=1) > 0).all()
    assert clip.token_embedding.weight.grad is None
    assert not clip.token_embedding.weight.requires_grad


def test_the_context_starts_as_noise_of_the_authors_deviation(clip_of):
    vectors = prompts.first_context(clip_of("glyph"), 512, None, torch.Generator().manual_seed(0))
    assert vectors.shape == (512, 64)
    assert float(vectors.std()) == pytest.approx(0.02, rel=0.02)
    assert abs(float(vectors.mean())) < 5e-4


def test_epochs_and_rates_are_the_authors():
    assert [prompts.authors_epochs(shots * 10, 10) for shots in (1, 2, 4, 8, 16)] == [50, 100, 100, 200, 200]
    rates = [prompts.epoch_rate(2e-3, epoch, 50) for epoch in range(50)]
    # As Dassl's scheduler: one constant epoch, behind which torch's cosine begins.
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=2e-3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50.0)
    expected = [1e-5]
    for _ in range(49):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    assert rates == pytest.approx(expected, rel=1e-6)


# -- Tip-Adapter ---------------------------------------------------------------------------------------------------


def test_cache_logits_are_the_formula_of_the_paper():
    rng = np.random.default_rng(0)
    features, keys = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    labels, beta = [0, 1, 1, 2], 5.5
    expected = np.zeros((5, 3))
    for row in range(5):
        for key, label in enumerate(labels):
            expected[row, label] += math.exp(-beta * (1 - float(features[row] @ keys[key])))
    values = F.one_hot(torch.tensor(labels)).double()
    affinity = torch.from_numpy(features @ keys.T)
    assert adapter.cache_logits(affinity, values, beta).numpy() == pytest.approx(expected, rel=1e-12)


def test_a_cache_of_no_weight_is_zero_shot(setting, tmp_path):
    learner = adapter.TipAdapter(augment_epochs=1, alpha=0.0, beta=1.0, validation="none")
    outcome, result = few_shot.trained(learner, few_shot.task(), few_shot.context(tmp_path))
    zero_shot = setting.zero_shot(setting.test)
    assert np.array_equal(outcome.probabilities.argmax(1), zero_shot.argmax(1).numpy())
    assert outcome.probabilities == pytest.approx(zero_shot.softmax(1).numpy(), abs=1e-6)
    assert result.accuracy == result.details["zero_shot_accuracy"]


def test_keys_are_normalised_means_of_raw_embeddings(setting, monkeypatch):
    task = few_shot.task(1)
    raw = iter(torch.arange(1.0, 7.0)[:, None, None] * torch.eye(10, 64)[None])
    monkeypatch.setattr(Setting, "encode_crops", lambda *_: next(raw).clone())
    pool = Pool(task, 64, seed=3)
    keys = adapter.cache_keys(setting, pool, augment_epochs=6)
    assert torch.allclose(keys, torch.eye(10, 64))
    # The mean is of raw embeddings: a long one counts more, as in the authors' code.
    raw = iter([torch.tensor([[3.0, 0.0]] * 10), torch.tensor([[0.0, 1.0]] * 10)])
    keys = adapter.cache_keys(setting, pool, augment_epochs=2)
    assert keys[0].tolist() == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)])


def test_the_search_finds_what_an_exhaustive_one_finds(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    features, keys, zero_shot = (torch.randn(*size, generator=rng) for size in ((30, 4), (8, 4), (30, 3)))
    features, keys, zero_shot = F.normalize(features), F.normalize(keys), 2 * zero_shot
    values = F.one_hot(torch.arange(8) % 3).float()
    labels = torch.randint(0, 3, (30,), generator=rng)
    found = adapter.search(features, keys, values, zero_shot, labels)
    affinity = features @ keys.T
    scored = {}
    for beta in adapter.BETAS:
        for alpha in adapter.ALPHAS:
            logits = zero_shot + alpha * ((affinity - 1) * beta).exp() @ values
            hits = int((logits.argmax(1) == labels).sum())
            scored[alpha, beta] = (hits, -float(F.cross_entropy(logits, labels)))
    best = max(scored.values())
    assert found.accuracy == best[0] / 30
    assert scored[found.alpha, found.beta][1] == pytest.approx(best[1], abs=1e-5)
    assert len({hits for hits, _ in scored.values()}) > 3, "the grid must matter, or this proves nothing"
    with monkeypatch.context() as patch:
        patch.setattr(adapter, "_ROWS", 7)
        assert adapter.search(features, keys, values, zero_shot, labels) == found
    shapes = []
    with monkeypatch.context() as patch:
        inner = adapter.cache_logits
        patch.setattr(adapter, "cache_logits", lambda part, *rest: shapes.append(part.shape) or inner(part, *rest))
        patch.setattr(adapter, "_COSINES", 100)
        assert adapter.search(features, keys, values, zero_shot, labels) == found
    assert set(shapes) == {(12, 8), (6, 8)}  # never more than 100 cosines at once


def test_many_keys_leave_room_for_few_images_at_once():
    sizes = [adapter.rows_at_once(torch.empty(count, 512, device="meta")) for count in (20, 32_768, 225_000, 1 << 26)]
    assert sizes == [1024, 1024, 149, 1]


def test_the_grid_is_the_authors():
    assert (len(adapter.BETAS), len(adapter.ALPHAS)) == (200, 20)
    assert (adapter.BETAS[0], adapter.ALPHAS[0]) == (0.1, 0.1)
    assert adapter.BETAS[-1] == pytest.approx(12 - 11.9 / 200)
    assert adapter.ALPHAS[-1] == pytest.approx(10 - 9.9 / 20)


@pytest.mark.parametrize(("shots", "count"), [(0.4, 1), (1, 1), (2, 2), (4, 4), (16, 4)])
def test_validation_images_are_as_few_as_the_shots(shots, count):
    part = few_shot.digits("validation")
    few = adapter.few_validation(part, "few", shots, torch.Generator().manual_seed(0))
    assert few.counts.tolist() == [count] * 10
    assert len(adapter.few_validation(part, "all", shots, torch.Generator())) == len(part)
    assert len(adapter.few_validation(part, "none", shots, torch.Generator())) == 0


def test_the_papers_preset_searches_the_whole_validation_part_and_the_record_counts_its_labels(tmp_path):
    for kind in (adapter.TipAdapter, adapter.TipAdapterF):
        quick, paper = (build(kind, {}, subject="tip", preset=preset) for preset in ("quick", "paper"))
        assert (quick.validation, paper.validation) == ("few", "all")
    task = few_shot.task()
    for which, count in {"few": 2 * 10, "all": len(task.validation), "none": 0}.items():
        learner = adapter.TipAdapter(augment_epochs=1, validation=which)
        details = learner.train(task, few_shot.context(tmp_path, which)).details
        assert details["validation_images"] == count, which


def test_without_validation_images_the_given_values_stay(tmp_path):
    task = few_shot.task()
    empty = ImageSet(task.validation.images[:0], task.validation.labels[:0], task.validation.classes)
    learner = adapter.TipAdapter(augment_epochs=1, alpha=1.17, beta=5.5, validation="few")
    outcome = learner.train(few_shot.task(validation=empty), few_shot.context(tmp_path))
    assert (outcome.details["alpha"], outcome.details["beta"]) == (1.17, 5.5)
    assert "validation_accuracy" not in outcome.details


# -- classifier tuning ---------------------------------------------------------------------------------------------


def test_a_head_that_takes_no_step_hits_what_zero_shot_hits(tmp_path, setting):
    learner = heads.ClassifierTuning(epochs=1, batch_size=512, learning_rate=1e-12, weight_decay=0.0)
    outcome, result = few_shot.trained(learner, few_shot.task(), few_shot.context(tmp_path))
    assert outcome.probabilities == pytest.approx(setting.zero_shot(setting.test).softmax(1).numpy(), abs=1e-4)
    assert outcome.parameters == 10 * 64 + 10
    assert result.accuracy == result.details["zero_shot_accuracy"]


def test_the_soft_target_loss_is_timms_and_the_formula():
    from timm.loss import SoftTargetCrossEntropy

    rng = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(6, 4, generator=rng), torch.randn(6, 4, generator=rng) * 5
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    found = heads.soft_target_loss(student, teacher, labels, 0.3, 2.0)
    soft = SoftTargetCrossEntropy()(student, torch.softmax(teacher / 2.0, dim=1))
    assert float(found) == pytest.approx(float(0.3 * soft + 0.7 * F.cross_entropy(student, labels)), rel=1e-6)
    assert float(heads.soft_target_loss(student, teacher, labels, 0.0, 2.0)) == pytest.approx(
        float(F.cross_entropy(student, labels)), rel=1e-6
    )
    # The same in NumPy, for the place of the temperature: on the teacher alone.
    weights = np.exp(teacher.numpy() / 2.0)
    weights /= weights.sum(1, keepdims=True)
    logs = student.numpy() - np.log(np.exp(student.numpy()).sum(1, keepdims=True))
    assert float(soft) == pytest.approx(float(-(weights * logs).sum(1).mean()), rel=1e-5)


def test_rates_are_a_clean_cosine_over_the_whole_training():
    rates = [heads.head_rate(1e-3, step, 480, 0) for step in range(480)]
    assert rates[0] == 1e-3
    assert all(later < earlier for earlier, later in pairwise(rates))  # no saw-tooth
    assert rates[240] == pytest.approx(5e-4)
    assert 0 < rates[-1] < 2e-8
    warm = [heads.head_rate(1.0, step, 10, 4) for step in range(10)]
    assert warm[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert half_cosine(2.0, 5, 5) == 0.0


@pytest.mark.parametrize(
    ("real", "synthetic", "mix", "batch", "epochs", "steps"),
    [
        (2, None, None, 32, 3, 3),  # 20 images: one batch
        (5, None, None, 32, 3, 6),  # 50 images: two, the second of which goes on in the next epoch
        (None, 5, None, 16, 3, 12),
        (2, 5, (1, 1), 16, 3, 21),  # 50 generated images, 8 in a batch
        (2, 5, (1, 3), 16, 3, 15),
    ],
)
def test_the_authors_length_is_epochs_of_whole_batches(tmp_path, real, synthetic, mix, batch, epochs, steps):
    learner = heads.ClassifierTuning(epochs=epochs, match="epochs", batch_size=batch, batch_size_synthetic=batch)
    task = few_shot.task(real or 1, synthetic=few_shot.made(synthetic) if synthetic else None, mix=mix)
    if real is None:
        task = few_shot.task(real=None, synthetic=few_shot.made(synthetic))
    learner = learner.for_training(None, task.info, 10 * (real or 1))
    outcome = learner.train(task, few_shot.context(tmp_path))
    assert outcome.steps == steps
    assert outcome.details["recipe"]["match"] == "epochs"


#: By learner: for 20 and for 200 real images the steps of its epochs, and the images of a step.
MATCHED = {
    prompts.CoOp: ((100, 20), (400, 32)),  # 100 epochs of a step; 200 of six, of which quick takes 400 at most
    adapter.TipAdapterF: ((50, 20), (50, 200)),
    heads.ClassifierTuning: ((30, 20), (210, 32)),
}


@pytest.mark.parametrize("kind", MATCHED)
def test_the_real_images_decide_the_steps_of_every_row(kind):
    for n_real, expected in zip((20, 200), MATCHED[kind], strict=True):
        ready = kind().for_training(None, few_shot.INFO, n_real)
        assert (ready.steps, ready.batch_size) == expected
        assert ready.for_training(None, few_shot.INFO, 10 * n_real) == ready
    exact = kind(steps=7).for_training(None, few_shot.INFO, 200)
    assert (exact.steps, exact.batch_size) == (7, MATCHED[kind][1][1])
    theirs = kind(match="epochs")
    assert theirs.for_training(None, few_shot.INFO, 20) == theirs


@pytest.mark.parametrize("kind", MATCHED)
def test_rows_of_generated_images_take_the_steps_and_the_images_of_the_real_ones(tmp_path, kind):
    ready = replace(kind(), epochs=3).for_training(None, few_shot.INFO, 20)
    both = {"real": few_shot.task(2).real, "synthetic": few_shot.made(8)}
    tasks = [few_shot.task(2), few_shot.task(2, real=None, synthetic=both["synthetic"])]
    if "mix" in kind.axes:
        tasks.append(few_shot.task(2, **both, mix=(1, 1)))
    half = few_shot.task(1)
    outcomes = [ready.train(task, few_shot.context(tmp_path, str(at))) for at, task in enumerate([*tasks, half])]
    assert {(outcome.steps, outcome.images_seen) for outcome in outcomes} == {(3, 60)}
    assert all(outcome.details["recipe"]["steps"] == 3 for outcome in outcomes)
    assert all(outcome.details["recipe"]["batch_size"] == 20 for outcome in outcomes)


@pytest.mark.parametrize(("kind", "steps"), [(prompts.CoOp, 2), (adapter.TipAdapterF, 1)])
def test_the_authors_count_the_images_of_the_row(tmp_path, kind, steps):
    learner = kind(epochs=1, match="epochs").for_training(None, few_shot.INFO, 20)
    task = few_shot.task(2, real=None, synthetic=few_shot.made(8))  # 80 images
    outcome = learner.train(task, few_shot.context(tmp_path))
    assert (outcome.steps, outcome.images_seen) == (steps, steps * (32 if kind is prompts.CoOp else 80))


@pytest.mark.parametrize("kind", MATCHED)
def test_how_far_the_training_images_were_learned_is_told(tmp_path, kind):
    """With the weights as they end, the shots are answered as the outcome says."""
    task = few_shot.task(2)
    ready = replace(kind(), epochs=8).for_training(None, few_shot.INFO, 20)
    if "validation" in vars(ready):
        ready = replace(ready, validation="none")  # else the cache answers with another alpha and beta than it trained
    task = replace(task, test=task.real.without_labels())
    outcome = ready.train(task, few_shot.context(tmp_path))
    learned = outcome.details["learning"]
    assert [step for step, _ in learned["curve"]] == list(range(1, 9))
    assert learned["images"] == 20
    assert learned["train_accuracy"] == float((outcome.probabilities.argmax(1) == task.real.labels).mean())


def test_the_weights_of_the_two_terms_count(tmp_path):
    """Without the term of generated images, a mix learns from the real part of its batches alone."""
    task = few_shot.task(synthetic=few_shot.made(), mix=(1, 1))
    wrong = ImageSet(task.synthetic.images, (task.synthetic.labels + 1) % 10, task.synthetic.classes)
    recipe = {"epochs": 10, "batch_size": 16, "learning_rate": 0.3, "weight_decay": 0.0, "soft_share": 0.0}
    found = []
    for synthetic in (task.synthetic, wrong):
        for weight in (0.0, 1.0):
            learner = heads.ClassifierTuning(**recipe, weight_synthetic=weight)
            turned = few_shot.task(synthetic=synthetic, mix=(1, 1))
            found.append(few_shot.trained(learner, turned, few_shot.context(tmp_path, str(len(found)))))
    assert found[0][0].curve == found[2][0].curve
    assert np.array_equal(found[0][0].probabilities, found[2][0].probabilities)
    assert found[3][1].accuracy < found[1][1].accuracy - 0.2


# -- batches -------------------------------------------------------------------------------------------------------


def test_a_pool_gives_every_image_once_per_epoch_with_its_label():
    task = few_shot.task(2, synthetic=few_shot.made(6), mix=(1, 3))
    pool = Pool(task, 16, seed=5)
    joined = ImageSet.concatenate([task.real, task.synthetic])
    seen = []
    for step in range(5):
        rows, labels = (item.clone() for item in pool.batch(step))
        assert int((rows < 20).sum()) == 4
        assert np.array_equal(pool.pixels(rows), joined.images[rows.numpy()])
        assert np.array_equal(labels.numpy(), joined.labels[rows.numpy()])
        seen += rows.tolist()
    assert sorted(seen) == list(range(80))


def test_a_pool_leaves_out_a_part_of_nothing():
    pool = Pool(few_shot.task(2, synthetic=few_shot.made(6), mix=(0, 1)), 16, seed=5)
    assert pool.counts == {"synthetic": 60}
    assert len(pool) == 60
