import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from safetensors.numpy import load_file

from benchbench.errors import BenchError
from benchbench.models.diffusion.parts import encode_prompts, load_parts
from benchbench_plugins.generators.diffinv import DiffusionInversion
from benchbench_plugins.generators.diffinv.inversion import (
    WINDOW,
    Objective,
    Unit,
    draw_window,
    embeddings_file,
    invert,
    read_embeddings,
)

PLUGIN = DiffusionInversion(
    model="mini",
    num_tokens=5,
    resolution=32,
    interpolation="bicubic",
    learning_rate=0.1,
    weight_decay=1e-2,
    checkpoints=(2, 5),
    optimizer="per-image",
    group_size=100,
    batch_size=2,
    loss_weighting="none",
    timestep_sampling="stratified",
    initial="uniform",
)
DENSE = replace(PLUGIN, optimizer="dense-adamw", group_size=3, learning_rate=0.03)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def toy_gradients(rows, target, noise):
    return 2 * (rows - target + noise)


def test_dense_adamw_is_adamw_on_a_linear_layer_over_one_hot_rows():
    images, tokens, width = 7, 2, 3
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(images, tokens, width, generator=rng)
    target = torch.randn(images, tokens, width, generator=rng)
    noise = torch.randn(40, images, tokens, width, generator=rng)
    linear = torch.nn.Linear(images, tokens * width, bias=False)
    linear.weight.data = start.reshape(images, -1).T.clone()
    reference = torch.optim.AdamW(linear.parameters(), lr=0.03, weight_decay=1e-2)
    unit = Unit(range(images), start.clone(), replace(DENSE, batch_size=3, group_size=images))
    for visit in range(40):
        for first in range(0, images, 3):
            chosen = torch.arange(first, min(first + 3, images))
            one_hot = torch.eye(images)[chosen]
            predicted = linear(one_hot).view(-1, tokens, width)
            reference.zero_grad()
            (predicted - target[chosen] + noise[visit, chosen]).square().sum().div(len(chosen)).backward()
            reference.step()
            rows = unit.embeddings.detach()[chosen]
            gradient = toy_gradients(rows, target[chosen], noise[visit, chosen]) / len(chosen)
            unit.step(range(first, int(chosen[-1]) + 1), gradient)
    assert [len(batch) for batch in unit.batches] == [3, 3, 1]
    expected = linear.weight.data.T.reshape(images, tokens, width)
    torch.testing.assert_close(unit.embeddings.detach(), expected, rtol=0, atol=2e-6)


def test_a_row_outside_the_batch_drifts_by_momentum_under_dense_adamw_only():
    start = torch.zeros(2, 1, 1)
    dense = Unit(range(2), start.clone(), replace(DENSE, batch_size=1, group_size=2, weight_decay=0.0))
    dense.step(range(0, 1), torch.ones(1, 1, 1))
    assert dense.embeddings[0].item() == pytest.approx(-0.03, rel=1e-4)
    for _ in range(200):
        dense.step(range(1, 2), torch.zeros(1, 1, 1))
    # Closed form of AdamW's bias-corrected steps after a single gradient of 1: the sum over k of
    # lr 0.9^k (1 - 0.9)/(1 - 0.9^(k+1)) / sqrt(0.999^k (1 - 0.999)/(1 - 0.999^(k+1))).
    k = np.arange(201)
    steps = (0.9**k * 0.1 / (1 - 0.9 ** (k + 1))) / np.sqrt(0.999**k * 0.001 / (1 - 0.999 ** (k + 1)))
    assert dense.embeddings[0].item() == pytest.approx(-0.03 * steps.sum(), rel=1e-3)


@pytest.mark.parametrize("plugin", [PLUGIN, DENSE], ids=["per-image", "dense-adamw"])
def test_killed_after_any_visit_and_resumed_gives_the_same_bytes(plugin, train, make_context, monkeypatch):
    whole = make_context("whole")
    invert(train, whole, plugin)
    expected = contents(whole.folder)
    assert set(expected) == {embeddings_file(2), embeddings_file(5), "inversion.json"}

    class KilledError(Exception):
        pass

    step = Unit.end_visit
    for stop in (1, 3, 5, 6, 8):
        visits = iter(range(stop))

        def end_visit(unit, visits=visits):
            step(unit)
            if next(visits, None) is None:
                raise KilledError

        name = f"stopped {stop}"
        monkeypatch.setattr(Unit, "end_visit", end_visit)
        with pytest.raises(KilledError):
            invert(train, make_context(name, save_every=0), plugin)
        monkeypatch.setattr(Unit, "end_visit", step)
        again = make_context(name)
        assert list(again.scratch.iterdir())
        assert not list(again.folder.iterdir())
        invert(train, again, plugin)
        assert contents(again.folder) == expected


def test_a_resumed_run_does_not_repeat_what_was_saved(train, make_context, monkeypatch):
    invert(train, make_context("run"), PLUGIN)
    visits = []
    monkeypatch.setattr(Unit, "end_visit", lambda self: visits.append(self))
    invert(train, make_context("run"), PLUGIN)
    assert visits == []


def test_embeddings_depend_on_their_image_alone_under_per_image(train, make_context):
    whole = make_context("whole")
    invert(train, whole, replace(PLUGIN, batch_size=4))
    folders = []
    for number, shard in enumerate((range(0, 1), range(1, 4))):
        part = make_context(f"part {number}", shard=shard)
        invert(train, part, replace(PLUGIN, batch_size=2))
        folders.append(part.folder)
    for visits in (2, 5):
        merged = read_embeddings(folders, visits, 4)
        np.testing.assert_allclose(merged, read_embeddings([whole.folder], visits, 4), atol=2e-3)


def test_shards_that_do_not_cover_the_images_are_refused(train, make_context):
    context = make_context("part", shard=range(1, 4))
    invert(train, context, PLUGIN)
    with pytest.raises(BenchError, match="3 embeddings, not one for each of 4 images"):
        read_embeddings([context.folder], 5, 4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_learning_lowers_the_denoising_loss(prediction_type, train, make_context, mini, mini_v):
    foundation = {"mini": mini if prediction_type == "epsilon" else mini_v}
    context = make_context("run", foundations=foundation)
    plugin = replace(PLUGIN, checkpoints=(1, 40), batch_size=4, learning_rate=0.05)
    invert(train, context, plugin)
    parts = load_parts(foundation["mini"], "mini", device="cpu", precision="fp32")
    objective = Objective(parts.layout.scheduler, "none", torch.device("cpu"))
    assert objective.prediction_type == prediction_type
    # One fixed grid of timesteps and noises, on latents that the learning did not see.
    rng = torch.Generator().manual_seed(1)
    latents = torch.randn(4, 4, 4, 4, generator=rng)
    losses = []
    for visits in (1, 40):
        tokens = torch.from_numpy(read_embeddings([context.folder], visits, 4))
        total = 0.0
        for timestep in (100, 500, 900):
            t = torch.full((4,), timestep)
            noise = torch.randn(4, 4, 4, 4, generator=torch.Generator().manual_seed(timestep))
            predicted = parts.predict(objective.noisy(latents, noise, t), t, tokens)
            total += float(objective.losses(predicted, objective.target(latents, noise, t), t).mean())
        losses.append(total)
    assert losses[1] < losses[0] - 0.01


def test_loss_curve_and_settings_are_written_without_the_models_path(train, make_context):
    context = make_context("run")
    invert(train, context, replace(PLUGIN, checkpoints=(WINDOW + 3,)))
    facts = json.loads((context.folder / "inversion.json").read_text())
    assert len(facts["loss"]) == 2
    assert all(0.3 < value < 3 for value in facts["loss"])
    assert facts["prediction_type"] == "epsilon"
    assert facts["images"] == [0, 4]
    assert "model" not in facts["settings"]
    assert facts["settings"]["learning_rate"] == 0.1


def test_uniform_initialisation_is_that_of_a_linear_layer_over_the_group(train, make_context):
    context = make_context("run")
    invert(
        train,
        context,
        replace(PLUGIN, checkpoints=(1,), learning_rate=1e-12, weight_decay=0.0, group_size=25),
    )
    table = read_embeddings([context.folder], 1, 4)
    assert table.shape == (4, 5, 768)
    assert np.abs(table).max() == pytest.approx(0.2, abs=1e-3)
    assert table.std() == pytest.approx(0.2 / 3**0.5, rel=0.02)
    assert not np.array_equal(table[0], table[1])


def test_prompt_initialisation_is_the_encoded_prompt(train, make_context, mini):
    context = make_context("run")
    plugin = replace(PLUGIN, initial="prompt", checkpoints=(1,), learning_rate=1e-12, weight_decay=0.0)
    invert(train, context, plugin)
    expected = encode_prompts(mini, "mini", ["a photo of"], 5, "diffinv")[0].numpy()
    for row in read_embeddings([context.folder], 1, 4):
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_bf16_keeps_embeddings_in_fp32_and_stays_near_the_fp32_result(train, make_context):
    tables = {}
    for precision in ("fp32", "bf16"):
        context = make_context(precision, precision=precision)
        invert(train, context, replace(PLUGIN, checkpoints=(5,), learning_rate=0.01))
        tables[precision] = load_file(context.folder / embeddings_file(5))["embeddings"]
    assert tables["bf16"].dtype == np.float32
    difference = tables["bf16"] - tables["fp32"]
    start = make_context("start")
    invert(train, start, replace(PLUGIN, checkpoints=(1,), learning_rate=1e-12))
    moved = tables["fp32"] - read_embeddings([start.folder], 1, 4)
    assert 0 < np.abs(difference).mean() < 0.5 * np.abs(moved).mean()


def test_divergence_is_one_clear_line(train, make_context):
    with pytest.raises(BenchError) as caught:
        invert(train, make_context("run"), replace(PLUGIN, learning_rate=1e30))
    assert str(caught.value) == "diffinv:learning_rate=1e+30: the embeddings diverged (not finite); take a smaller one"


def test_posterior_is_the_autoencoders_scaled(mini):
    parts = load_parts(mini, "mini", device="cpu", precision="fp32")
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = parts.posterior(images)
    reference = AutoencoderKL.from_pretrained(str(mini), subfolder="vae", use_safetensors=True)
    with torch.no_grad():
        expected = reference.encode(images).latent_dist
    torch.testing.assert_close(mean, expected.mean * 0.18215)
    torch.testing.assert_close(std, expected.std * 0.18215)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_noising_and_targets_are_those_of_diffusers(prediction_type):
    config = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012}
    config |= {"beta_schedule": "scaled_linear", "prediction_type": prediction_type}
    scheduler = DDPMScheduler(**config)
    objective = Objective(config, "none", torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(6, 4, 2, 2, generator=rng), torch.randn(6, 4, 2, 2, generator=rng)
    t = torch.tensor([0, 1, 10, 500, 998, 999])
    torch.testing.assert_close(objective.noisy(latents, noise, t), scheduler.add_noise(latents, noise, t))
    targets = {"epsilon": noise, "sample": latents, "v_prediction": scheduler.get_velocity(latents, noise, t)}
    torch.testing.assert_close(objective.target(latents, noise, t), targets[prediction_type])


@pytest.mark.parametrize("weighting", ["velocity", "min-snr"])
def test_a_weighting_means_the_same_whatever_is_predicted(weighting):
    """The same guess of the clean latent costs the same as an epsilon, a v or a sample prediction."""
    rng = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(4, 4, 2, 2, generator=rng), torch.randn(4, 4, 2, 2, generator=rng)
    guess = latents + torch.randn(4, 4, 2, 2, generator=rng)
    t = torch.tensor([20, 300, 600, 990])
    found = {}
    for kind in ("epsilon", "v_prediction", "sample"):
        config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        objective = Objective(config | {"prediction_type": kind}, weighting, torch.device("cpu"))
        kept = DDPMScheduler(**config).alphas_cumprod[t].view(-1, 1, 1, 1)
        noisy = objective.noisy(latents, noise, t)
        implied = (noisy - kept.sqrt() * guess) / (1 - kept).sqrt()
        predicted = objective.target(guess, implied, t)
        found[kind] = objective.losses(predicted, objective.target(latents, noise, t), t)
    torch.testing.assert_close(found["epsilon"], found["v_prediction"], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["epsilon"], found["sample"], rtol=1e-3, atol=1e-5)
    if weighting == "velocity":
        config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
        plain = Objective(config | {"prediction_type": "v_prediction"}, "none", torch.device("cpu"))
        kept = DDPMScheduler(**config).alphas_cumprod[t].view(-1, 1, 1, 1)
        implied = (plain.noisy(latents, noise, t) - kept.sqrt() * guess) / (1 - kept).sqrt()
        expected = plain.losses(plain.target(guess, implied, t), plain.target(latents, noise, t), t)
        torch.testing.assert_close(found["v_prediction"], expected, rtol=1e-3, atol=1e-5)


def window(images, number=0, stratified=True, seed=0, device="cpu"):
    return draw_window(
        seed,
        images,
        number,
        shape=(4, 2, 2),
        num_train_timesteps=1000,
        stratified=stratified,
        device=torch.device(device),
    )


def test_every_device_is_given_what_the_cpu_draws():
    """No other device has the CPU's streams: a generator cannot even be made on this one."""
    elsewhere = window([5, 6], device="meta")
    assert {value.device.type for value in vars(elsewhere).values()} == {"meta"}
    assert elsewhere.noise.shape == window([5, 6]).noise.shape


def test_an_images_stream_is_its_own():
    alone, among = window([5]), window([1, 5, 9])
    for name in ("timesteps", "posterior", "noise"):
        assert torch.equal(getattr(alone, name)[:, 0], getattr(among, name)[:, 1])
    assert not torch.equal(among.noise[:, 0], among.noise[:, 1])
    assert not torch.equal(alone.noise, window([5], number=1).noise)
    assert not torch.equal(alone.noise, alone.posterior)


def test_stratified_timesteps_fall_into_every_part_once():
    drawn = window(list(range(20)))
    parts = drawn.timesteps // (1000 // WINDOW)
    assert torch.equal(parts.sort(dim=0).values, torch.arange(WINDOW)[:, None].expand(-1, 20))
    assert not torch.equal(parts[:, 0], parts[:, 1])


def test_uniform_timesteps_cover_the_schedule():
    drawn = torch.cat([window(list(range(40)), number, stratified=False).timesteps for number in range(5)])
    assert 0 <= int(drawn.min()) < 5
    assert 995 <= int(drawn.max()) <= 999
    assert float(drawn.double().mean()) == pytest.approx(499.5, abs=12)
    counts = torch.histc(drawn.double(), 10, 0, 1000)
    assert float((counts - 1000).square().sum() / 1000) < 30  # chi-squared with 9 degrees of freedom


def test_noise_is_standard_normal():
    drawn = window(list(range(100)))
    for noise in (drawn.noise, drawn.posterior):
        assert float(noise.mean()) == pytest.approx(0, abs=0.02)
        assert float(noise.std()) == pytest.approx(1, abs=0.02)
