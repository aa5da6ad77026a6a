"""Chains of augmentations: what ``all`` stands for, and the base in front of every chain."""

from __future__ import annotations

import pytest

from benchbench.errors import UsageError
from benchbench.planning.chains import aug_text, base_name, expand_augs
from benchbench.planning.resolved import resolve
from benchbench.planning.spec import chain_text, parse_chain

PAPER = ["autoaugment", "augmix", "cutmix", "cutout", "meada", "mixup", "randaugment"]


def expanded(*texts: str) -> list[str]:
    return [chain_text(chain) for chain in expand_augs(parse_chain(text) for text in texts)]


def test_the_base_is_the_one_that_the_default_suite_names():
    assert base_name() == "default"


def test_every_chain_stands_on_the_base():
    assert expanded("mixup", "randaugment+mixup:alpha=0.2") == ["default+mixup", "default+randaugment+mixup:alpha=0.2"]
    assert expanded("default", "default:padding=0+mixup") == ["default", "default:padding=0+mixup"]
    assert expanded("mixup+default") == ["mixup+default"]  # an order that was asked for is kept


def test_the_same_chain_is_trained_once():
    assert expanded("mixup", "default+mixup", "mixup") == ["default+mixup"]


def test_all_is_the_eight_of_the_paper_the_base_first():
    assert expanded("all") == ["default", *(f"default+{name}" for name in sorted(PAPER))]
    assert expanded("mixup", "all")[0] == "default+mixup"
    assert len(expanded("mixup", "all")) == 8


@pytest.mark.parametrize("text", ["all+mixup", "all:alpha=1", "default+all"])
def test_all_stands_alone(text):
    with pytest.raises(UsageError) as error:
        expanded(text)
    assert str(error.value) == f"--aug {text}: all stands alone, without values; name each augmentation"


def test_an_unknown_name_is_left_for_the_binding_to_refuse():
    assert expanded("mixxup") == ["default+mixxup"]
    with pytest.raises(UsageError, match="did you mean 'mixup'"):
        resolve("augmentation", expand_augs([parse_chain("mixxup")])[0][1], "quick")


def text_of(text: str) -> str:
    return aug_text([resolve("augmentation", link, "quick") for link in parse_chain(text)])


def test_tables_leave_out_a_base_that_is_understood():
    assert text_of("default") == "default"
    assert text_of("default+default:padding=1") == "default:padding=1"
    assert text_of("default:padding=0+default") == "default:padding=0+default"
    assert aug_text([]) == "-"
