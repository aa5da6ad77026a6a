"""Which precision each stage takes, and what the protocol sets on an accelerator: decisions that a CPU can check."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from benchbench.errors import UsageError
from benchbench.planning.precision import PRECISIONS, choose_precision

STAGES = ("fit", "sample", "transform", "train")


@pytest.mark.parametrize(
    ("wanted", "device", "preset", "expected"),
    [
        ("auto", "cpu", "quick", "fp32 fp32 fp32 fp32"),
        ("auto", "cpu", "paper", "fp32 fp32 fp32 fp32"),
        ("auto", "cuda", "quick", "bf16 bf16 bf16 bf16"),
        ("auto", "cuda", "paper", "fp32 fp16 fp16 fp32"),  # what the authors of Diffusion Inversion took
        ("fp16", "cuda", "quick", "fp32 fp16 fp16 fp32"),
        ("fp32", "cuda", "paper", "fp32 fp32 fp32 fp32"),
        ("tf32", "cuda", "paper", "tf32 tf32 tf32 tf32"),
        ("bf16", "cuda", "paper", "bf16 bf16 bf16 bf16"),
        ("bf16", "cpu", "paper", "bf16 bf16 bf16 bf16"),
    ],
)
def test_each_stage_has_its_precision(wanted, device, preset, expected):
    precision = choose_precision(wanted, device, preset)
    assert " ".join(precision.of(stage) for stage in STAGES) == expected
    assert precision.of("fit", forward_only=True) == precision.sampling


def test_no_request_trains_in_half_precision():
    every = [choose_precision(name, "cuda", preset) for name in PRECISIONS for preset in ("quick", "paper")]
    assert "fp16" not in {precision.learning for precision in every}


@pytest.mark.parametrize("wanted", ["fp16", "tf32"])
def test_a_cpu_is_not_asked_for_what_it_has_no_arithmetic_for(wanted):
    with pytest.raises(UsageError) as caught:
        choose_precision(wanted, "cpu", "paper")
    assert str(caught.value) == f"--precision {wanted}: needs an accelerator; on a CPU there are fp32 and bf16"


def test_two_precisions_of_one_plan_are_both_named():
    assert str(choose_precision("auto", "cuda", "paper")) == "fp32, sampling fp16"
    assert str(choose_precision("auto", "cuda", "quick")) == "bf16"


def test_the_protocol_sets_tf32_only_where_asked_and_fixed_kernels_on_an_accelerator():
    code = """
        import os, torch
        from benchbench.running.execute import _fix_protocol
        b = torch.backends
        b.cudnn.benchmark = True
        for device, precision in (("cpu", "fp32"), ("cuda", "fp32"), ("cuda", "tf32"), ("cuda", "bf16")):
            _fix_protocol(device, precision)
            print(b.cuda.matmul.allow_tf32, b.cudnn.allow_tf32, b.cudnn.benchmark, b.cudnn.deterministic,
                  torch.are_deterministic_algorithms_enabled(), os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
    """
    environment = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines() == [
        "False False True False False None",
        "False False False True True :4096:8",
        "True True False True True :4096:8",
        "False False False True True :4096:8",
    ]


DRAWS = {"Generator", "rand", "randn", "randint", "randperm", "normal", "rand_like", "randn_like", "bernoulli"}
ROOT = Path(__file__).parent.parent


def test_generators_learners_and_models_draw_on_the_cpu():
    """Another device has other streams, and a step that generates has one key for all devices.

    Functions that draw like another tensor would draw where it is, so these are left out altogether.
    """
    found, calls = [], 0
    for room in ("plugins/generators", "plugins/learners", "benchbench/models"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                named = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
                calls += named in DRAWS
                if named in DRAWS and (named.endswith("_like") or {"device"} & {k.arg for k in node.keywords}):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {named}")
    assert found == []
    assert calls > 10, "the names that are looked for are those that are used"
