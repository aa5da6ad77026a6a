"""The text tower from its token embeddings on, raw image features and lengths of texts, in both published formats."""

import numpy as np
import pytest
import torch
from mini_clip import write_mini_resnet, write_mini_vit

from benchbench.errors import UsageError
from benchbench.models.clip.layout import check_text_lengths, clip_packages
from benchbench.models.clip.model import open_clip_model
from benchbench.models.clip.pixels import preprocess
from benchbench_plugins.datasets.digits import NAMES
from benchbench_plugins.foundations.glyph import GlyphCLIP

TEXTS = ["a photo of the digit two", "an image of zero.", "zero"]
FORMATS = ("vit", "resnet", "glyph")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of each format; the one of open_clip only where that is installed."""
    folder = tmp_path_factory.mktemp("mini")
    opened = {}

    def clip(which):
        if which not in opened:
            if which == "resnet":
                pytest.importorskip("open_clip")
                where = write_mini_resnet(folder / which)
            else:
                where = GlyphCLIP().folder() if which == "glyph" else write_mini_vit(folder / which, image_size=32)
            opened[which] = open_clip_model(where, which)
        return opened[which]

    return clip


def unit(rows):
    return (rows / rows.norm(dim=1, keepdim=True)).detach().numpy()


@pytest.mark.parametrize("which", FORMATS)
def test_its_own_token_embeddings_give_the_text_back(clips, which):
    clip = clips(which)
    ids = clip.tokens(TEXTS)
    assert ids.shape == (3, clip.positions)
    assert ids.dtype == torch.int64
    found = unit(clip.text_features(ids, clip.token_embeddings(ids)))
    assert found == pytest.approx(clip.encode_texts(TEXTS), abs=1e-6)
    # Other embeddings under the same ids are another text: the ids only say where it ends.
    other = clip.token_embeddings(ids.roll(1, dims=0))
    assert np.abs(unit(clip.text_features(ids, other)) - found).max() > 1e-3
    # And nothing of it stays behind.
    assert clip.encode_texts(TEXTS) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("which", FORMATS)
def test_gradients_reach_the_embeddings_up_to_the_end_and_no_weight(clips, which):
    clip = clips(which)
    ids = clip.tokens(TEXTS)
    embeddings = clip.token_embeddings(ids).requires_grad_()
    clip.text_features(ids, embeddings).square().sum().backward()
    for row, count in enumerate(clip.token_counts(ids).tolist()):
        assert (embeddings.grad[row, :count].abs().sum(dim=1) > 0).all()
        assert (embeddings.grad[row, count:] == 0).all()  # causal: nothing behind the end marker counts
    assert clip.token_embedding.weight.grad is None


@pytest.mark.parametrize("which", FORMATS)
def test_raw_image_features_are_those_of_the_unit_rows(clips, which):
    clip = clips(which)
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    raw = clip.image_features(preprocess(images, clip.preprocessing))
    assert not raw.requires_grad
    assert np.abs(np.linalg.norm(raw.numpy(), axis=1) - 1).min() > 0.01
    assert unit(raw) == pytest.approx(clip.encode_images(images), abs=1e-6)


@pytest.mark.parametrize("which", FORMATS)
def test_texts_that_fit_exactly_pass_and_one_more_word_does_not(clips, which):
    clip = clips(which)
    free = clip.positions - 2
    exact = " ".join(["zero"] * free)
    ids = clip.tokens([exact])
    assert clip.token_counts(ids).tolist() == [clip.positions]
    longer = f"{exact} zero"
    needed = clip.positions + 1
    with pytest.raises(UsageError, match=rf"^{which}: 'zero zero.*' takes {needed} tokens, the model reads "):
        clip.tokens(["zero", longer])
    with pytest.raises(UsageError, match=r"takes 3 tokens and \d+ of context, .*smaller n_ctx"):
        clip.tokens(["zero"], reserved=free)
    assert len(clip.tokens(["zero"], reserved=free - 1)) == 1


def test_the_plan_counts_tokens_as_the_model_does(clips):
    clip = clips("glyph")
    texts = [*(f"a photo of the digit {name}." for name in NAMES), "Annual Crop Land.", "Zebra, 12 & 3", ""]
    for text in texts:
        count = int(clip.token_counts(clip.tokens([text])))
        check_text_lengths("glyph-clip", "toy", [text], reserved=clip.positions - count)
        with pytest.raises(UsageError, match=rf"takes {count} tokens and"):
            check_text_lengths("glyph-clip", "toy", [text], reserved=clip.positions - count + 1)


def test_a_model_that_is_no_clip_is_named_by_who_asks():
    assert clip_packages("glyph-clip", "coop") == ("transformers",)
    assert clip_packages("somewhere/else", "coop") == ("transformers",)  # not here: the preflight says so
    with pytest.raises(UsageError, match=r"^coop:clip=glyph-sd: .*expected the folder of a transformers CLIPModel"):
        clip_packages("glyph-sd", "coop")
