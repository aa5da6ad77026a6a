"""``timm`` on the command line: fine-tuning from a folder of weights, and what is refused before any work."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest
from driving import Bench
from looking import records

ARCH = "resnet10t"
DIGITS = ("--gen", "real", "--data", "digits", "--shots", "1", "--metric", "none")


def write(folder, seed):
    """Write timm's own network, randomly initialised, with seven classes, as timm's hub has it."""
    import timm
    import torch
    from timm.models import save_for_hf

    torch.manual_seed(seed)
    save_for_hf(timm.create_model(ARCH, num_classes=7), folder, safe_serialization=True)


@pytest.fixture(scope="module")
def weights(tmp_path_factory, environment):
    """``bench`` in a folder with two sets of weights, one of them twice."""
    folder = tmp_path_factory.mktemp("fine-tuning")
    write(folder / "mine", 0)
    write(folder / "other", 1)
    shutil.copytree(folder / "mine", folder / "renamed")
    return Bench(folder, environment)


def test_fine_tuning_from_a_folder(weights):
    learner = ("--learner", "timm:weights=./mine,steps=2,batch_size=4", "--arch", ARCH)
    done = weights("run", *DIGITS, *learner, "--executor", "inline", "--results", "tuned")
    assert done.errors == []
    (record,) = records(weights.folder / "tuned")
    told = record["result"]["details"]
    assert told["pretrained"]["weights"] == "mine"
    assert told["pretrained"]["head"] == "new: the weights have 7 classes, the dataset 10"
    assert told["recipe"]["learning_rate"] == 0.003
    assert str(weights.folder) not in json.dumps(record)


def test_weights_are_part_of_the_key_by_content(weights):
    learners = [("--learner", f"timm:weights=./{name}") for name in ("mine", "other", "renamed")]
    done = weights("plan", *DIGITS, *itertools.chain(*learners), "--arch", ARCH, "--json")
    trainings = [step for step in json.loads(done.out)["steps"] if step["stage"] == "train"]
    assert len({step["key"] for step in trainings}) == 2  # what was renamed is what it was


@pytest.mark.parametrize(
    ("learner", "arch", "said"),
    [
        ("timm:weights=./mine", "resnet18", "timm:weights=./mine: these are weights of resnet10t; --arch resnet18 "),
        ("timm:pretrained=true", "resnet18", "timm: timm/resnet18.a1_in1k: it is not in the local hub cache and the"),
        ("timm:pretrained=true", "vgg16", "vgg16: cannot take images of 16 px when it starts from weights (timm's"),
    ],
)
def test_what_cannot_work_is_said_in_one_line_before_any_work(weights, learner, arch, said):
    done = weights("run", *DIGITS, "--learner", learner, "--arch", arch, "--results", "refused", code=2)
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert done.err.startswith(f"bench: {said}")
    assert not (weights.folder / "refused").exists()
    if "hub" in said:
        assert done.seconds < 10
    if "cannot take" in said:
        assert done.err.endswith("; the smallest it takes is 32 px\n")
