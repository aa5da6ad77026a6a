import json
import shutil

import pytest
from mini_clip import write_mini_vit

from benchbench.errors import UsageError
from benchbench.models.clip.layout import OPENAI_MEAN, Preprocessing, check_clip, clip_identity
from benchbench_plugins.foundations.glyph import GlyphCLIP


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return write_mini_vit(tmp_path_factory.mktemp("mini") / "clip-vit-base-patch16")


@pytest.fixture
def folder(real, tmp_path):
    return shutil.copytree(real, tmp_path / "clip")


def change(folder, part, **values):
    """Set keys of a JSON file; None removes one."""
    config = json.loads((folder / part).read_text("utf-8")) | values
    (folder / part).write_text(json.dumps({k: v for k, v in config.items() if v is not None}), "utf-8")


def refusal(folder):
    with pytest.raises(UsageError) as raised:
        check_clip(folder, "toy")
    text = str(raised.value)
    assert text.startswith("toy: ")
    assert "\n" not in text
    return text


def test_facts_of_a_clip(real):
    found = check_clip(real, "toy")
    assert (found.name, found.library, found.width, found.resolution, found.positions) == (
        "toy",
        "transformers",
        512,
        224,
        77,
    )
    assert found.preprocessing.mean == OPENAI_MEAN
    embedded = check_clip(GlyphCLIP().folder(), "glyph-clip")
    assert (embedded.width, embedded.resolution, embedded.positions) == (64, 32, 20)


def test_what_a_configuration_leaves_out_is_openais_vit_b_32(folder):
    (folder / "config.json").write_text('{"model_type": "clip"}', "utf-8")
    (folder / "preprocessor_config.json").write_text("{}", "utf-8")
    found = check_clip(folder, "toy")
    assert (found.width, found.resolution, found.positions) == (512, 224, 77)
    assert found.preprocessing == Preprocessing(
        224, 224, "bicubic", 1 / 255, OPENAI_MEAN, (0.26862954, 0.26130258, 0.27577711)
    )


def test_image_processor_of_transformers_5_is_read_as_the_old_one(folder):
    old = check_clip(folder, "toy").preprocessing
    change(folder, "preprocessor_config.json", size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    assert check_clip(folder, "toy").preprocessing == old
    held = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": held}), "utf-8")
    assert check_clip(folder, "toy").preprocessing == old
    change(folder, "processor_config.json", image_processor={**held, "size": {"height": 224, "width": 224}})
    assert check_clip(folder, "toy").preprocessing.resize is None


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("config.json", "no config.json in the folder; expected"),
        ("vocab.json", "no tokenizer in the folder"),
        ("merges.txt", "no tokenizer in the folder"),
        ("preprocessor_config.json", "no preprocessor_config.json in the folder"),
        ("model.safetensors", "the folder has no model.safetensors; fetch the folder again"),
    ],
)
def test_missing_file_is_named(folder, gone, words):
    (folder / gone).unlink()
    assert words in refusal(folder)


def test_pickled_weights_are_not_opened(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "only the pickled pytorch_model.bin; convert it" in refusal(folder)


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("config.json", {"model_type": "siglip"}, "config.json is that of siglip, not of a CLIPModel"),
        ("config.json", {"model_type": None}, "config.json is that of no known model"),
        ("config.json", {"architectures": ["CLIPTextModel"]}, "config.json is that of CLIPTextModel"),
        ("config.json", {"projection_dim": "512"}, "config.json: projection_dim is '512'"),
        ("config.json", {"vision_config": {"image_size": 336}}, "cuts out 224 px, the model takes 336 px"),
        ("preprocessor_config.json", {"do_normalize": False}, "has do_normalize off"),
        ("preprocessor_config.json", {"resample": 1}, "resample 1 is not supported"),
        ("preprocessor_config.json", {"crop_size": [224, 200]}, "only squares are supported"),
        ("preprocessor_config.json", {"size": 200}, "size 200 is less than crop_size 224"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, r"image_mean is [0.5]; it must be three numbers"),
    ],
)
def test_unfit_configuration_is_named(folder, part, values, words):
    change(folder, part, **values)
    assert words in refusal(folder)


@pytest.mark.parametrize("part", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("text", ["{", "[1]"])
def test_what_is_no_json_object_is_named(folder, part, text):
    (folder / part).write_text(text, "utf-8")
    assert part in refusal(folder)


def test_a_file_is_no_clip(folder):
    assert "a file; expected the folder of a transformers CLIPModel" in refusal(folder / "config.json")


@pytest.fixture
def open_clip_folder(tmp_path):
    folder = tmp_path / "rn50"
    folder.mkdir()
    model = {"embed_dim": 1024, "vision_cfg": {"image_size": 224}, "text_cfg": {"context_length": 77}}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}), "utf-8")
    (folder / "open_clip_model.safetensors").write_bytes(b"")
    return folder


def test_facts_of_an_open_clip_folder(open_clip_folder):
    found = check_clip(open_clip_folder, "toy")
    assert (found.library, found.width, found.resolution, found.positions) == ("open_clip", 1024, 224, 77)
    assert found.preprocessing.even


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_cfg": None}, "has no model_cfg"),
        ({"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "multimodal_cfg": {}}}, "with multimodal_cfg"),
        ({"model_cfg": {"vision_cfg": {}, "text_cfg": {"hf_model_name": "x"}}}, "with hf_model_name"),
        ({"model_cfg": {"vision_cfg": {}}}, "embed_dim is None"),
        ({"preprocess_cfg": {"resize_mode": "longest"}}, "resize_mode 'longest'"),
    ],
)
def test_unfit_open_clip_configuration_is_named(open_clip_folder, values, words):
    change(open_clip_folder, "open_clip_config.json", **values)
    assert words in refusal(open_clip_folder)


def test_pickled_open_clip_weights_are_not_opened(open_clip_folder):
    (open_clip_folder / "open_clip_model.safetensors").rename(open_clip_folder / "open_clip_pytorch_model.bin")
    assert "only the pickled open_clip_pytorch_model.bin; convert it" in refusal(open_clip_folder)


def test_identity_follows_what_decides_embeddings_and_nothing_else(folder, tmp_path):
    first = clip_identity(folder)
    assert len(first) == 16
    (folder / "README.md").write_text("a card", "utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"the same, pickled")
    assert clip_identity(shutil.copytree(folder, tmp_path / "elsewhere")) == first
    seen = {first}
    for part in ("config.json", "preprocessor_config.json", "merges.txt", "model.safetensors"):
        held = (folder / part).read_bytes()
        (folder / part).write_bytes(held + b" ")
        seen.add(clip_identity(folder))
        (folder / part).write_bytes(held)
    assert len(seen) == 5
    assert clip_identity(folder) == first
