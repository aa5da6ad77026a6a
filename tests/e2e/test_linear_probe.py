"""``probe`` on the command line: with the embedded CLIP, with a folder of timm, and without a model."""

from __future__ import annotations

import json

import pytest
from driving import Bench
from looking import records, rows

DIGITS = ("--data", "digits", "--metric", "none", "--executor", "inline")


@pytest.fixture(scope="module")
def bench(tmp_path_factory, environment):
    """``bench`` in a folder with a tiny network of timm, randomly initialised, as timm's hub has it."""
    import timm
    import torch
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("probe")
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_resnet", num_classes=7), folder / "mine", safe_serialization=True)
    return Bench(folder, environment)


def test_two_models_on_real_and_mixed_images(bench):
    bench("new", "generator", "blend")
    learners = ("--learner", "probe:model=glyph-clip", "--learner", "probe:model=./mine,resolution=32")
    generator = ("--gen", "./blend.py", "--shots", "2", "--mix", "1:1", "--seeds", "1", "--draws", "1")
    done = bench("run", *generator, *learners, *DIGITS)
    assert done.errors == []
    table = {(row["learner"], row["gen"], row["mix"]): row for row in rows(bench.folder / "results")}
    assert len(table) == 2 * 2
    assert {row["arch"] for row in table.values()} <= {"", "-"}
    assert all(float(row["acc_mean"]) > 80 for (learner, *_), row in table.items() if "glyph" in learner)
    for record in records(bench.folder / "results"):
        told = record["result"]["details"]["recipe"]
        assert (told["model"], told["resolution"]) in {("glyph-clip", 32), ("mine", 32)}
        assert record["result"]["details"]["learning"]["rising"] is False


@pytest.mark.parametrize(
    ("learner", "told"),
    [
        (
            "probe",
            "probe: no model is named; --learner probe:model=FOLDER takes a folder in timm's hub format or a CLIP",
        ),
        (
            "probe:model=./nowhere",
            "probe:model=./nowhere: no such file or folder; give a model's folder, in the format",
        ),
        (
            "probe:model=glyph-sd",
            "probe:model=glyph-sd: gives no features of images; expected a folder in timm's hub",
        ),
        ("probe:model=glyph-clip,resolution=64", "probe:model=glyph-clip: this CLIP sees images of 32 px and of no "),
        ("probe:model=glyph-clip,penalty=0", "probe:penalty=0: must be above 0"),
    ],
)
def test_what_cannot_work_is_one_line_before_any_work(bench, learner, told):
    done = bench("run", *DIGITS, "--learner", learner, "--results", "refused", code=2)
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert done.err.startswith(f"bench: {told}")
    assert not (bench.folder / "refused").exists()


def test_draws_stand_in_the_place_of_seeds(bench):
    done = bench("plan", "--data", "digits", "--learner", "probe:model=glyph-clip", "--metric", "none", "--json")
    cells = json.loads(done.out)["cells"]
    assert [(cell["draw"], cell["replicate"]) for cell in cells] == [(draw, 0) for draw in range(5)]


def test_a_hub_id_that_is_not_here_is_said_by_the_plan(bench):
    learner = "probe:model=timm/vit_base_patch32_clip_224.openai"
    done = bench("plan", "--data", "digits", "--learner", learner, code=2)
    assert done.err.startswith("bench: probe:model=timm/vit_base_patch32_clip_224.openai: it is not in the local hub")
    assert "or give a local folder instead" in done.err
