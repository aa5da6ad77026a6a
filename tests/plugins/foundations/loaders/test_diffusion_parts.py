import shutil

import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import CLIPTextModel

from benchbench.errors import BenchError, UsageError
from benchbench.models.diffusion.parts import TextEncoder, encode_prompts, load_parts


def opening(folder):
    with pytest.raises(BenchError) as caught:
        load_parts(folder, "mine", device="cpu", precision="fp32")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_truncated_weights_are_one_line(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    told = "mine: unet/diffusion_pytorch_model.safetensors is truncated, or no safetensors file; fetch the folder again"
    assert opening(folder) == told
    weights.write_bytes(b"")
    assert opening(folder) == told


def test_a_damaged_file_that_is_not_opened_does_not_matter(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    (folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"version https://git-lfs")
    load_parts(folder, "mine", device="cpu", precision="fp32")


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_weights_of_other_shapes_are_said_without_a_librarys_advice(part, mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    first = next(key for key in tensors if tensors[key].ndim == 4)
    save_file({**tensors, first: tensors[first][:1].copy()}, weights, metadata={"format": "pt"})
    assert opening(folder) == (
        f"mine: {part}/ cannot be opened (weights have other shapes than config.json says); fetch the folder again"
    )


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("tf32", torch.float32),
                                                  ("bf16", torch.bfloat16), ("fp16", torch.float16)])  # fmt: skip
def test_the_network_computes_in_the_precision_of_the_step_and_the_autoencoder_in_fp32(precision, dtype, mini):
    parts = load_parts(mini, "mine", device="cpu", precision=precision)
    assert {weight.dtype for weight in parts.unet.parameters()} == {dtype}
    assert {weight.dtype for weight in parts.vae.parameters()} == {torch.float32}
    given = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(3), torch.zeros(1, 5, 768)
    with torch.inference_mode():
        found = parts.predict(*given)
        exact = load_parts(mini, "mine", device="cpu", precision="fp32").predict(*given)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_do_not_become_black(value, mini):
    parts = load_parts(mini, "mine", device="cpu", precision="fp32")
    with pytest.raises(BenchError, match=r"^mine: made images that are not finite .*; its weights or the precision"):
        parts.decode(torch.full((1, 4, 4, 4), value))


def test_missing_weights_are_not_filled_with_noise(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_in.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    assert opening(folder) == (
        "mine: unet/ lacks 1 weights that its config.json asks for (first: conv_in.weight); fetch the folder again"
    )


def test_the_empty_prompt_cut_to_k_tokens_is_the_start_of_the_whole_encoding(mini):
    whole, cut = (encode_prompts(mini, "mini", [""], tokens, "toy") for tokens in (77, 5))
    torch.testing.assert_close(whole[:, :5], cut, rtol=1e-4, atol=1e-5)


def test_whole_prompts_are_padded_and_cut_to_the_models_positions(mini):
    encoder = TextEncoder(mini, "mini")
    found = encoder.encode(["a photo of the digit two", "a " * 200])
    assert found.shape == (2, 77, 768)
    torch.testing.assert_close(encoder.encode(["a photo of the digit two"])[0], found[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], found[1])


def test_more_tokens_than_positions_name_who_asked(mini):
    with pytest.raises(UsageError) as caught:
        encode_prompts(mini, "mini", ["a"], 78, "toy")
    assert str(caught.value) == "toy:num_tokens=78: the text encoder of mini takes at most 77"


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_text_encoder_of_either_transformers_gives_what_the_installed_one_reads(prefix, mini, tmp_path):
    """Version 5 writes weights without the prefix that version 4 writes and needs."""
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = {prefix + key.removeprefix("text_model."): value for key, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    reference = CLIPTextModel.from_pretrained(str(mini / "text_encoder")).eval()
    encoder = TextEncoder(folder, "mine")
    ids = encoder.tokenizer("a photo", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = reference(ids).last_hidden_state
    torch.testing.assert_close(encoder.encode(["a photo"]), expected, rtol=1e-4, atol=1e-5)


def test_a_text_encoder_that_does_not_fit_its_configuration_is_one_line(mini, tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(mini, folder)
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    last = next(key for key in tensors if key.endswith("final_layer_norm.bias"))
    save_file({**tensors, last: tensors[last][:10].copy()}, weights)
    with pytest.raises(BenchError, match=r"^mine: text_encoder/ has weights of other shapes .*final_layer_norm\.bias"):
        TextEncoder(folder, "mine")
    save_file({key: value for key, value in tensors.items() if key != last}, weights)
    with pytest.raises(BenchError, match=r"^mine: text_encoder/ lacks 1 weights .*final_layer_norm\.bias"):
        TextEncoder(folder, "mine")
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(BenchError, match=r"^mine: text_encoder/model\.safetensors is truncated, .*fetch"):
        TextEncoder(folder, "mine")
