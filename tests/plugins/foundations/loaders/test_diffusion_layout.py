import json
import shutil

import pytest

from benchbench.errors import UsageError
from benchbench.models.diffusion.layout import native_side, read_layout, read_vae_layout


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without_unet(folder):
    shutil.rmtree(folder / "unet")


def pickled(folder):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def no_weights(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def inpainting(folder):
    edit(folder / "unet" / "config.json", in_channels=9)


def larger(folder):
    edit(folder / "unet" / "config.json", addition_embed_type="text_time")


def flow(folder):
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="flow_prediction")


def no_tokenizer(folder):
    shutil.rmtree(folder / "tokenizer")


LAYOUT = "expected the diffusers layout of Stable Diffusion: unet, vae, scheduler, text_encoder, tokenizer"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_unet, f"mine: no unet/config.json in the folder; {LAYOUT}"),
        (pickled, "mine: vae/ has no safetensors weights, only pickled "
            "diffusion_pytorch_model.bin; convert it"),
        (no_weights, "mine: unet/ has no safetensors weights; fetch the folder again"),
        (inpainting, "mine: unet has in_channels 9, the vae makes 4 latent channels; "
            "only plain text-to-image models can be used"),
        (larger, "mine: unet needs more than text embeddings (addition_embed_type=text_time), "
            "which is not supported"),
        (flow, "mine: scheduler has prediction_type 'flow_prediction'; "
            "known are epsilon, v_prediction, sample"),
        (no_tokenizer, f"mine: no tokenizer/ in the folder; {LAYOUT}"),
    ],
)  # fmt: skip
def test_a_folder_that_cannot_be_used_is_refused_by_its_configuration(mini, tmp_path, spoil, message):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    spoil(folder)
    with pytest.raises(UsageError) as caught:
        read_layout(folder, "mine", text=True)
    assert str(caught.value) == message


def test_an_autoencoder_needs_no_other_part(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini / "vae", folder / "vae")
    alone = read_vae_layout(folder, "mine")
    assert (alone.latent_channels, alone.vae_factor, alone.folder) == (4, 8, folder / "vae")
    assert read_vae_layout(folder / "vae", "mine").folder == folder / "vae"
    with pytest.raises(UsageError, match=r"mine: no unet/config\.json"):
        read_layout(folder, "mine")


def test_an_autoencoder_of_another_kind_is_refused(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini / "unet", folder)
    with pytest.raises(UsageError, match="is not that of an AutoencoderKL"):
        read_vae_layout(folder, "mine")
    with pytest.raises(UsageError, match=r"mine: no vae/config\.json in the folder"):
        read_vae_layout(tmp_path, "mine")


def test_a_resolution_that_does_not_fit_names_who_asked(mini):
    layout = read_layout(mini, "mine")
    assert layout.latent_size(64, "toy") == 8
    with pytest.raises(UsageError) as caught:
        layout.latent_size(20, "toy")
    assert str(caught.value) == "toy:resolution=20: must be a multiple of 8, the reduction of the VAE of mine"


def test_the_side_that_a_model_was_trained_at_is_read_from_its_configuration(mini, tmp_path):
    """mini has latents of 8 px below a VAE that reduces 8 times; SD v1-4 has 64, which is 512 px."""
    assert native_side(str(mini)) == 64
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    for size, side in ((64, 512), ([16, 12], 96), (None, None), ("8", None), ([], None), (0, None)):
        edit(folder / "unet" / "config.json", sample_size=size)
        assert native_side(str(folder)) == side, size


def test_a_model_that_is_not_here_or_does_not_say_tells_no_side(mini, tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    for model in ("no-one/has-this-model", str(mini / "vae"), str(tmp_path), str(file)):
        assert native_side(model) is None, model
    assert native_side("glyph-sd") == 32
