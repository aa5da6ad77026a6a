"""Checks the folder of a CLIP and reads the facts that a plan needs, from its JSON files alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import cache_root
from ...keys.content import content_hash
from ..opening import local_folder, read_configuration, refuses_odd_values

#: Mean and standard deviation per channel that OpenAI's models were trained with (Radford et al. 2021, its code).
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
OPEN_CLIP_CONFIG = "open_clip_config.json"
#: The files of each library that may hold the weights, in the order of preference.
_WEIGHTS = {
    "transformers": ("model.safetensors",),
    "open_clip": ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors"),
}
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# As Pillow numbers its filters.
_FILTERS = {2: "bilinear", 3: "bicubic"}
_EXPECTED = "expected the folder of a transformers CLIPModel, or one with open_clip_config.json"
_read = partial(read_configuration, expected=_EXPECTED)


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become what an image tower takes.

    Attributes:
        resize: side in px that the shorter side gets, or ``None`` to bring both sides to ``crop`` at once.
        crop: side in px of the centre that is cut out, the input of the tower.
        interpolation: ``"bicubic"`` or ``"bilinear"``, both with antialiasing.
        rescale: factor that takes 0..255 to the range of ``mean`` and ``std``.
        mean: per channel, subtracted.
        std: per channel, divided by.
        even: an odd margin is halved to the even number, as torchvision does, rather than rounded down.
    """

    resize: int | None
    crop: int
    interpolation: str
    rescale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    even: bool = False


@dataclass(frozen=True)
class ClipLayout:
    """The facts about a CLIP that decide shapes.

    Attributes:
        name: the foundation as the user named it, the subject of messages.
        folder: where it lies.
        library: ``"transformers"`` or ``"open_clip"``.
        width: length of an embedding.
        resolution: side in px at which the image tower sees images.
        positions: tokens of a text at most, the two markers included.
        preprocessing: how images are brought there.
        config: the model's configuration.
    """

    name: str
    folder: Path
    library: str
    width: int
    resolution: int
    positions: int
    preprocessing: Preprocessing
    config: Mapping[str, Any]


@refuses_odd_values
def check_clip(folder: Path, name: str) -> ClipLayout:
    """Check that a folder holds a CLIP, from its JSON files and the names of the others; cheap enough for planning.

    Args:
        folder: where it lies.
        name: how the user named it.

    Raises:
        UsageError: no configuration, another kind of model (named), no tokenizer, no weights or only pickled
            ones, or a configuration that is not supported; one line that starts with ``name``.
    """
    if not folder.is_dir():
        raise UsageError(f"{name}: a file; {_EXPECTED}")
    is_open_clip = (folder / OPEN_CLIP_CONFIG).is_file()
    layout = _open_clip_layout(folder, name) if is_open_clip else _transformers_layout(folder, name)
    weight_files(layout)
    return layout


def clip_identity(folder: Path) -> str:
    """Return 16 hex digits for what decides the embeddings of a CLIP, wherever it lies and whatever it is called.

    Weights, configuration, preprocessing and tokenizer enter by their bytes; a model card or other weights of
    the same repository do not.

    Raises:
        UsageError: the folder is no CLIP, or one of its files cannot be read.
    """
    layout = check_clip(folder, folder.name)
    names = ["config.json", *_PROCESSOR_FILES, *_TOKENIZER_FILES]
    if layout.library == "open_clip":
        names = [OPEN_CLIP_CONFIG]
    names += [path.name for path in weight_files(layout)]
    hashed = hashlib.sha256()
    for item in sorted(item for item in names if (folder / item).is_file()):
        hashed.update(f"{item}\0{content_hash(folder / item, cache_root() / 'contents.json')}\n".encode())
    return hashed.hexdigest()[:16]


def weight_files(layout: ClipLayout) -> list[Path]:
    """Return the safetensors files that hold the weights: one, or the shards that an index names.

    Raises:
        UsageError: there are none, or only pickled ones.
    """
    folder, name, names = layout.folder, layout.name, _WEIGHTS[layout.library]
    for item in names:
        if (folder / item).is_file():
            return [folder / item]
        if (folder / f"{item}.index.json").is_file():
            shards = _read(folder, name, f"{item}.index.json").get("weight_map", {})
            return [folder / shard for shard in sorted(set(shards.values()))]
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    remedy = f", only the pickled {pickled[0]}; convert it" if pickled else "; fetch the folder again"
    raise UsageError(f"{name}: the folder has no {names[0]}{remedy}")


def _transformers_layout(folder: Path, name: str) -> ClipLayout:
    config = _read(folder, name, "config.json")
    kind = config.get("model_type")
    if kind != "clip" or config.get("architectures", ["CLIPModel"]) != ["CLIPModel"]:
        what = kind if kind != "clip" else ", ".join(config["architectures"])
        raise UsageError(f"{name}: config.json is that of {what or 'no known model'}, not of a CLIPModel; {_EXPECTED}")
    if not ((folder / "tokenizer.json").is_file() or all((folder / i).is_file() for i in ("vocab.json", "merges.txt"))):
        raise UsageError(f"{name}: no tokenizer in the folder (tokenizer.json, or vocab.json and merges.txt)")
    # What a configuration leaves out has the value of OpenAI's ViT-B/32.
    text, vision = config.get("text_config") or {}, config.get("vision_config") or {}
    resolution = _number(vision.get("image_size", 224), name, "config.json: image_size")
    preprocessing = _processor(folder, name)
    if preprocessing.crop != resolution:
        raise UsageError(
            f"{name}: the image processor cuts out {preprocessing.crop} px, the model takes {resolution} px; "
            "fetch the folder again"
        )
    return ClipLayout(
        name=name,
        folder=folder,
        library="transformers",
        width=_number(config.get("projection_dim", 512), name, "config.json: projection_dim"),
        resolution=resolution,
        positions=_number(text.get("max_position_embeddings", 77), name, "config.json: max_position_embeddings"),
        preprocessing=preprocessing,
        config=config,
    )


def _processor(folder: Path, name: str) -> Preprocessing:
    """Read the image processor, in the spelling of any transformers from 4.20 (plain numbers) to 5."""
    part = _PROCESSOR_FILES[0]
    if not (folder / part).is_file() and (folder / _PROCESSOR_FILES[1]).is_file():
        part = _PROCESSOR_FILES[1]
    config = _read(folder, name, part)
    config = config.get("image_processor", config)
    for step in ("do_resize", "do_center_crop", "do_rescale", "do_normalize"):
        if not config.get(step, True):
            raise UsageError(f"{name}: {part} has {step} off, which is not supported")
    size, crop = config.get("size", 224), config.get("crop_size", 224)
    cut = _square(crop, name, f"{part}: crop_size")
    if isinstance(size, dict) and "shortest_edge" not in size:
        if _square(size, name, f"{part}: size") != cut:
            raise UsageError(f"{name}: {part}: size {size} and crop_size {crop} do not fit")
        resize = None
    else:
        resize = _number(size["shortest_edge"] if isinstance(size, dict) else size, name, f"{part}: size")
        if resize < cut:
            raise UsageError(f"{name}: {part}: size {resize} is less than crop_size {cut}, which is not supported")
    kind = config.get("resample", 3)
    if kind not in _FILTERS:
        raise UsageError(f"{name}: {part}: resample {kind!r} is not supported; 2 (bilinear) and 3 (bicubic) are")
    return Preprocessing(
        resize,
        cut,
        _FILTERS[kind],
        float(config.get("rescale_factor", 1 / 255)),
        _channels(config.get("image_mean", OPENAI_MEAN), name, f"{part}: image_mean"),
        _channels(config.get("image_std", OPENAI_STD), name, f"{part}: image_std"),
    )


def _open_clip_layout(folder: Path, name: str) -> ClipLayout:
    whole = _read(folder, name, OPEN_CLIP_CONFIG)
    config = whole.get("model_cfg")
    if not isinstance(config, dict) or not isinstance(config.get("vision_cfg"), dict):
        raise UsageError(f"{name}: {OPEN_CLIP_CONFIG} has no model_cfg with a vision_cfg; fetch the folder again")
    text = config.get("text_cfg") or {}
    foreign = [key for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key)]
    if foreign or "multimodal_cfg" in config:
        raise UsageError(
            f"{name}: {OPEN_CLIP_CONFIG} describes a model with {foreign[0] if foreign else 'multimodal_cfg'}; "
            "only CLIPs with open_clip's own text tower are supported"
        )
    resolution = _square(config["vision_cfg"].get("image_size", 224), name, f"{OPEN_CLIP_CONFIG}: image_size")
    return ClipLayout(
        name=name,
        folder=folder,
        library="open_clip",
        width=_number(config.get("embed_dim"), name, f"{OPEN_CLIP_CONFIG}: embed_dim"),
        resolution=resolution,
        positions=_number(text.get("context_length", 77), name, f"{OPEN_CLIP_CONFIG}: context_length"),
        preprocessing=_transform(whole.get("preprocess_cfg") or {}, name, resolution),
        config=config,
    )


def _transform(config: Mapping[str, Any], name: str, resolution: int) -> Preprocessing:
    """Read open_clip's preprocess_cfg."""
    part = f"{OPEN_CLIP_CONFIG}: preprocess_cfg"
    size = _square(config.get("size") or resolution, name, f"{part}: size")
    mode = config.get("resize_mode") or "shortest"
    if mode not in ("shortest", "squash") or size != resolution:
        raise UsageError(
            f"{name}: {part} has resize_mode {mode!r} and size {size} for a model of {resolution} px; "
            "'shortest' and 'squash' with the model's size are supported"
        )
    return Preprocessing(
        size if mode == "shortest" else None,
        size,
        "bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
        1 / 255,
        _channels(config.get("mean") or OPENAI_MEAN, name, f"{part}: mean"),
        _channels(config.get("std") or OPENAI_STD, name, f"{part}: std"),
        even=True,
    )


def _number(value: Any, name: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name}: {where} is {value!r}; it must be a whole number of at least 1")
    return value


def _square(value: Any, name: str, where: str) -> int:
    """Return the side of a square given as a number, a pair or a mapping of height and width."""
    sides = value if isinstance(value, (list, tuple)) else [value]
    if isinstance(value, dict):
        sides = [value.get("height"), value.get("width")]
    if len(set(sides)) != 1:
        raise UsageError(f"{name}: {where} is {value!r}; only squares are supported")
    return _number(sides[0], name, where)


def _channels(value: Any, name: str, where: str) -> tuple[float, float, float]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value] * 3
    if len(numbers) != 3 or not all(isinstance(number, (int, float)) for number in numbers):
        raise UsageError(f"{name}: {where} is {value!r}; it must be three numbers")
    return float(numbers[0]), float(numbers[1]), float(numbers[2])


#: The extra that brings each package which only some CLIPs need.
EXTRAS: Mapping[str, str] = {"open_clip": "openclip"}


def clip_packages(name: str, subject: str) -> tuple[str, ...]:
    """Return the packages that open a CLIP; where it is not on this machine yet, what transformers' format needs.

    Args:
        name: an embedded name, a folder or a hub id.
        subject: the plugin that asks, the start of the message.

    Raises:
        UsageError: it is on this machine and is no CLIP.
    """
    layout = local_layout(name, subject)
    return (layout.library if layout else "transformers",)


def local_layout(name: str, subject: str) -> ClipLayout | None:
    """Return the facts about a CLIP, ``None`` where it is not on this machine: the preflight fetches it, or says so.

    Args:
        name: an embedded name, a folder or a hub id.
        subject: the plugin that asks, the start of the message.

    Raises:
        UsageError: it is on this machine and is no CLIP.
    """
    folder = local_folder(name)
    return check_clip(folder, f"{subject}:clip={name}") if folder else None


def check_text_lengths(name: str, subject: str, texts: Sequence[str], reserved: int = 0) -> None:
    """Refuse texts that a CLIP would cut, where a ``tokenizer.json`` on this machine can count tokens without it.

    Args:
        name: an embedded name, a folder or a hub id.
        subject: the plugin that asks, the start of the message.
        texts: as they are tokenized.
        reserved: further tokens that each needs.

    Raises:
        UsageError: a text is too long, the first one is named; or the model is no CLIP.
    """
    layout = local_layout(name, subject)
    if not layout or layout.library != "transformers" or not (layout.folder / "tokenizer.json").is_file():
        return
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(layout.folder / "tokenizer.json"))
    except Exception:  # a damaged tokenizer is reported when it is opened
        return
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # With the two markers.
    lengths = [len(tokenizer.encode(text, add_special_tokens=False)) + 2 for text in texts]
    refuse_long_texts(layout.name, layout.positions, texts, lengths, reserved)


def refuse_long_texts(name: str, positions: int, texts: Sequence[str], lengths: Sequence[int], reserved: int) -> None:
    """Raise ``UsageError`` for the first text whose tokens, with ``reserved`` more, are more than ``positions``."""
    for text, length in zip(texts, lengths, strict=True):
        if length + reserved > positions:
            more = f" and {reserved} of context" if reserved else ""
            remedy = "a shorter class name or a smaller n_ctx" if reserved else "a shorter class name or template"
            raise UsageError(
                f"{name}: '{text}' takes {length} tokens{more}, the model reads {positions}; give {remedy}"
            )
