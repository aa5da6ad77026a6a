"""The schedule against PyTorch's own schedulers and the values of the paper's code."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_recipe

from benchbench.training.recipes import learning_rates, make_optimizer

PAPER = {"steps": 50_000, "warmup_steps": 1_000, "learning_rate": 0.1, "batch_size": 128, "evaluations": 20}


def test_paper_schedule_realises_the_published_values():
    rates = learning_rates(tiny_recipe(**PAPER))
    assert len(rates) == 50_001
    assert rates[0] == pytest.approx(1e-4)
    assert rates[1_000] == pytest.approx(0.0999, abs=5e-5)
    assert rates[25_000] == pytest.approx(0.0501, abs=5e-5)
    assert rates[50_000] == pytest.approx(1e-4)
    assert max(rates) == pytest.approx(0.1, rel=2e-3)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 10), (400, 60), (37, 1), (50, 0)])
def test_schedule_equals_the_chain_of_torch(steps, warmup):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    chain = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps, eta_min=0.1 * 0.001)]
    if warmup:
        chain.insert(0, torch.optim.lr_scheduler.LinearLR(optimizer, 0.001, total_iters=warmup))
    scheduler = torch.optim.lr_scheduler.ChainedScheduler(chain)
    expected = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        expected.append(optimizer.param_groups[0]["lr"])
    assert learning_rates(tiny_recipe(steps, warmup_steps=warmup, learning_rate=0.1)) == pytest.approx(expected)


def test_evaluations_are_even_and_leave_out_the_last_step():
    paper = tiny_recipe(**PAPER).evaluation_steps
    assert sorted(paper) == list(range(2_500, 50_000, 2_500))
    assert tiny_recipe(100, evaluations=1).evaluation_steps == frozenset()
    assert tiny_recipe(3, evaluations=20).evaluation_steps == {1, 2}
    assert tiny_recipe(253, evaluations=2).evaluation_steps == {126}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_optimizer_takes_the_textbook_step(name):
    start, gradient, rate, decay = 2.0, 0.5, 0.1, 0.01
    weight = torch.nn.Parameter(torch.tensor([start]))
    recipe = tiny_recipe(optimizer=name, learning_rate=rate, weight_decay=decay, momentum=0.9)
    optimizer = make_optimizer(recipe, [weight])
    seen = []
    for _ in range(2):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        seen.append(weight.item())
    if name == "sgd":  # v = 0.9 v + (g + decay w); w -= rate v, without Nesterov
        first = gradient + decay * start
        one = start - rate * first
        two = one - rate * (0.9 * first + gradient + decay * one)
    else:  # a constant gradient gives a normalised step of 1
        one = start * (1 - rate * decay) - rate
        two = one * (1 - rate * decay) - rate
    assert seen == pytest.approx([one, two], abs=1e-5)


def test_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="sgd, adamw"):
        tiny_recipe(optimizer="lion")
