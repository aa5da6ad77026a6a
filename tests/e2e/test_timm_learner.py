"""``timm`` on the command line: fine-tuning from a folder of weights, and what is refused before any work."""

from __future__ import annotations

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


def keys(bench, name):
    learner = ("--learner", f"timm:weights=./{name},steps=2,batch_size=4", "--arch", ARCH)
    planned = json.loads(bench("plan", *DIGITS, *learner, "--json").out)
    return {step["key"] for step in planned["steps"]}


def test_fine_tuning_from_a_folder(weights):
    learner = ("--learner", "timm:weights=./mine,steps=2,batch_size=4", "--arch", ARCH)
    done = weights("run", *DIGITS, *learner, "--executor", "inline", "--results", "tuned")
    assert done.errors == []
    (record,) = records(weights.folder / "tuned")
    told = record["outcome"]["details"] if "outcome" in record else record["details"]
    assert told["pretrained"]["weights"] == "mine"
    assert told["pretrained"]["head"] == "new: the weights have 7 classes, the dataset 10"
    assert told["recipe"]["learning_rate"] == 0.003
    assert str(weights.folder) not in json.dumps(record)


def test_weights_are_part_of_the_key_by_content(weights):
    mine, other = keys(weights, "mine"), keys(weights, "other")
    assert keys(weights, "renamed") == mine
    assert len(mine & other) == len(mine) - 1  # the data are the same, the training is not


@pytest.mark.parametrize(
    ("learner", "arch", "said"),
    [
        ("timm:weights=./mine", "resnet18", "timm:weights=./mine: these are weights of resnet10t; --arch resnet18 "),
        ("timm:weights=./nothing", ARCH, "timm:weights=./nothing: no such file or folder"),
        ("timm:pretrained=true", "resnet18", "timm: timm/resnet18.a1_in1k: it is not in the local hub cache and the"),
        ("timm:pretrained=true", "all", "vgg16_bn: cannot take images of 16 px ("),
        ("timm:pretrained=true", "shufflenetv2", "shufflenetv2: timm has no such network, hence no weights; "),
        ("timm", "inception_v3", "inception_v3: cannot take images of 16 px ("),
    ],
)
def test_what_cannot_work_is_said_in_one_line_before_any_work(weights, learner, arch, said):
    done = weights("run", *DIGITS, "--learner", learner, "--arch", arch, "--results", "refused", code=2)
    assert done.seconds < 30  # about 5 s on an idle machine, the hub's own limit of 6 s included
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert done.err.startswith(f"bench: {said}")
    assert not (weights.folder / "refused").exists()
    if "cannot take" in said:
        assert done.err.rstrip().endswith(" px")
        assert "; the smallest it takes is " in done.err
