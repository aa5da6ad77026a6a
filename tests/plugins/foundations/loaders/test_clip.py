import json

import numpy as np
import pytest
import torch
from mini_clip import write_mini_resnet, write_mini_vit
from PIL import Image

from benchbench.errors import BenchError, MissingError
from benchbench.models.clip.layout import OPENAI_MEAN, OPENAI_STD, Preprocessing
from benchbench.models.clip.model import class_probabilities, open_clip_model
from benchbench.models.clip.pixels import preprocess
from benchbench.plugins import Context
from benchbench_plugins.datasets.digits import NAMES, Digits
from benchbench_plugins.foundations.glyph import GlyphCLIP

TEXTS = ["a photo of the digit two", "an image of zero.", "digit " * 100]


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return write_mini_vit(tmp_path_factory.mktemp("mini") / "clip-vit-base-patch16")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    pytest.importorskip("open_clip")
    return write_mini_resnet(tmp_path_factory.mktemp("mini") / "resnet50_clip.openai")


@pytest.fixture(scope="module")
def glyph():
    return open_clip_model(GlyphCLIP().folder(), "glyph-clip")


def noise(count, height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def pillow(images):
    return [Image.fromarray(image) for image in images]


def unit(rows):
    return (rows / rows.norm(dim=-1, keepdim=True)).detach().numpy()


def levels(found, expected, std):
    """Differences in levels of 0..255."""
    assert found.shape == expected.shape
    return (found - expected).abs() * torch.tensor(std)[:, None, None] * 255


@pytest.mark.parametrize("shape", [(32, 32), (96, 131), (301, 260), (224, 224)])
def test_pixels_are_those_of_the_libraries_image_processor(shape):
    from transformers import CLIPImageProcessor

    images = noise(4, *shape)
    expected = CLIPImageProcessor()(pillow(images), return_tensors="pt")["pixel_values"]
    how = Preprocessing(224, 224, "bicubic", 1 / 255, OPENAI_MEAN, OPENAI_STD)
    off = levels(preprocess(images, how), expected, OPENAI_STD)
    assert off.max() < 2.01  # its backend before transformers 5 is Pillow
    assert (off > 0.5).float().mean() < 0.01


@pytest.mark.parametrize("shape", [(32, 32), (96, 131), (301, 260)])
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_pixels_are_those_of_open_clips_transform(shape, mode):
    transform = pytest.importorskip("open_clip").image_transform(64, is_train=False, resize_mode=mode)
    images = noise(4, *shape)
    expected = torch.stack([transform(image) for image in pillow(images)])
    how = Preprocessing(64 if mode == "shortest" else None, 64, "bicubic", 1 / 255, OPENAI_MEAN, OPENAI_STD, even=True)
    off = levels(preprocess(images, how), expected, OPENAI_STD)
    assert off.max() < 2.01
    assert (off > 0.5).float().mean() < 0.01


@pytest.mark.parametrize("which", ["vit", "glyph"])
def test_embeddings_are_those_of_transformers(request, which):
    from transformers import CLIPModel, CLIPProcessor

    folder = GlyphCLIP().folder() if which == "glyph" else request.getfixturevalue(which)
    clip = open_clip_model(folder, which)
    model, processor = CLIPModel.from_pretrained(folder).float().eval(), CLIPProcessor.from_pretrained(folder)
    images = noise(3, clip.resolution, clip.resolution)  # of the model's own size: nothing is resized
    inputs = processor(text=TEXTS, images=pillow(images), return_tensors="pt", padding=True, truncation=True)
    with torch.inference_mode():
        out = model(**inputs)
    assert clip.encode_images(images) == pytest.approx(unit(out.image_embeds), abs=1e-5)
    assert clip.encode_texts(TEXTS) == pytest.approx(unit(out.text_embeds), abs=1e-5)
    assert class_probabilities(clip, images, TEXTS) == pytest.approx(out.logits_per_image.softmax(1).numpy(), abs=1e-4)


def test_embeddings_are_those_of_open_clip(resnet):
    import open_clip

    whole = json.loads((resnet / "open_clip_config.json").read_text("utf-8"))
    model = open_clip.model.CLIP(**whole["model_cfg"])
    open_clip.load_checkpoint(model, str(resnet / "open_clip_model.safetensors"))
    transform = open_clip.image_transform(64, is_train=False, **whole["preprocess_cfg"])
    tokens = open_clip.tokenize(TEXTS)
    clip = open_clip_model(resnet, "resnet")
    images = noise(3, 64, 64)
    with torch.inference_mode():
        rows = model.eval().encode_image(torch.stack([transform(image) for image in pillow(images)]))
        texts = model.encode_text(tokens)
    assert clip.encode_images(images) == pytest.approx(unit(rows), abs=1e-5)
    assert clip.encode_texts(TEXTS) == pytest.approx(unit(texts), abs=1e-5)
    assert (clip.width, clip.resolution, clip.positions) == (96, 64, 77)


@pytest.mark.parametrize("which", ["vit", "resnet"])
def test_rows_are_unit_float32_and_do_not_depend_on_the_batch(request, which):
    clip = open_clip_model(request.getfixturevalue(which), which)
    images = noise(5, 40, 40)
    rows = clip.encode_images(images, batch=2)
    assert rows.dtype == np.float32
    assert rows.shape == (5, clip.width)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert rows == pytest.approx(clip.encode_images(images, batch=5), abs=1e-5)
    assert np.array_equal(rows, clip.encode_images(images, batch=2))
    assert clip.logit_scale == pytest.approx(1 / 0.07, rel=1e-3)  # where CLIP's training begins


def test_nothing_to_encode_gives_no_rows(vit):
    clip = open_clip_model(vit, "vit")
    assert clip.encode_images(noise(0, 8, 8)).shape == (0, 512)
    assert clip.encode_texts([]).shape == (0, 512)


def test_long_texts_are_cut_and_keep_their_end(vit):
    clip = open_clip_model(vit, "vit")
    longer = clip.encode_texts(["digit " * 75, "digit " * 76, "digit " * 300])
    assert longer[0] == pytest.approx(longer[1], abs=1e-6)
    assert longer[0] == pytest.approx(longer[2], abs=1e-6)
    # The end marker is what is pooled: one word less is another text.
    assert np.abs(clip.encode_texts(["digit " * 74])[0] - longer[0]).max() > 1e-4


def test_mixed_precision_comes_close(vit):
    exact = open_clip_model(vit, "vit").encode_images(noise(3, 32, 32))
    mixed = open_clip_model(vit, "vit", precision="bf16").encode_images(noise(3, 32, 32))
    assert mixed.dtype == np.float32
    assert 1e-6 < np.abs(mixed - exact).max() < 0.02


def test_probabilities_are_a_softmax_of_scaled_cosines(glyph):
    images = noise(4, 32, 32)
    prompts = [f"a photo of the digit {name}." for name in NAMES]
    found = class_probabilities(glyph, images, prompts)
    assert found.dtype == np.float32
    assert found.sum(1) == pytest.approx(np.ones(4), abs=1e-5)
    logits = glyph.logit_scale * glyph.encode_images(images) @ glyph.encode_texts(prompts).T
    assert found == pytest.approx(torch.from_numpy(logits).softmax(1).numpy(), abs=1e-4)


def test_embedded_clip_names_handwritten_digits_it_never_saw(glyph, tmp_path):
    """Zero-shot, on the validation part; the test part is for the benchmark alone."""
    validation = Digits().load("validation", Context(0, tmp_path, tmp_path, Digits().info()))
    prompts = [f"a photo of the digit {name}." for name in NAMES]
    found = class_probabilities(glyph, validation.images, prompts)
    assert (found.argmax(1) == validation.labels).mean() > 0.85
    # The same with the names in another order must fail, or the check proves nothing.
    turned = class_probabilities(glyph, validation.images, prompts[1:] + prompts[:1])
    assert (turned.argmax(1) == validation.labels).mean() < 0.1


def test_embedded_clip_is_at_most_a_megabyte():
    files = [path for path in GlyphCLIP().folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 1_000_000
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "vocab.json", "merges.txt"} <= {
        path.name for path in files
    }


def test_weights_that_are_not_finite_are_named(vit, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(vit, tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BenchError, match=r"^toy: gave embeddings that are not finite"):
        open_clip_model(folder, "toy").encode_images(noise(1, 8, 8))


def copied(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / folder.name)


def damage(folder, how, weights="model.safetensors"):
    from safetensors.torch import load_file, save_file

    file = folder / weights
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-1000])
        return
    held = load_file(file)
    first = next(key for key in sorted(held) if held[key].ndim == 2)
    if how == "lacking":
        del held[first]
    elif how == "surplus":
        held["adapter.weight"] = torch.zeros(2)
    else:
        held[first] = torch.zeros(3, 5)
    save_file(held, file, metadata={"format": "pt"})


@pytest.mark.parametrize("which", ["vit", "resnet"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "truncated, or no safetensors file"),
        ("lacking", "lack 1 that the configuration asks for"),
        ("surplus", r"hold 1 that it has no place for \(first: adapter.weight\)"),
        ("reshaped", "weights have other shapes than config.json says|do not fit the configuration"),
    ],
)
def test_damaged_weights_are_one_line(request, tmp_path, which, how, words):
    folder = copied(request.getfixturevalue(which), tmp_path)
    damage(folder, how, "model.safetensors" if which == "vit" else "open_clip_model.safetensors")
    with pytest.raises(BenchError, match=f"^toy: .*({words})") as raised:
        open_clip_model(folder, "toy")
    assert "\n" not in str(raised.value)
    assert "fetch" in str(raised.value)
    assert "ignore_mismatched" not in str(raised.value)


def test_damaged_tokenizer_is_one_line(vit, tmp_path):
    folder = copied(vit, tmp_path)
    (folder / "vocab.json").write_text("[]", "utf-8")
    with pytest.raises(BenchError, match=r"^toy: the tokenizer cannot be opened .*fetch") as raised:
        open_clip_model(folder, "toy")
    assert "\n" not in str(raised.value)


def test_positions_that_old_checkpoints_hold_are_no_error(vit, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(vit, tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["vision_model.embeddings.position_ids"] = torch.arange(197)[None]
    weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    images = noise(2, 8, 8)
    assert np.array_equal(
        open_clip_model(folder, "old").encode_images(images), open_clip_model(vit, "new").encode_images(images)
    )


def test_open_clip_that_is_not_installed_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "rn50"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 8, "vision_cfg": {}}}', "utf-8")
    (folder / "open_clip_model.safetensors").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(MissingError, match=r"^toy: .*pip install 'benchbench\[openclip\]'"):
        open_clip_model(folder, "toy")
