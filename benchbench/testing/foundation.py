"""What a foundation promises: a folder of data, no code, with a licence."""

from __future__ import annotations

from pathlib import Path

from .subject import Subject, require

#: Endings of files that run code when they are opened.
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def has_a_folder(subject: Subject) -> None:
    """The folder is there, with at least one file."""
    folder = _folder(subject)
    require(folder.is_dir(), f"folder() returns {folder}, which is no folder")
    require(any(path.is_file() for path in folder.rglob("*")), f"{folder} holds no file")


def holds_no_pickle(subject: Subject) -> None:
    """Weights are safetensors: a pickle can run any code when it is opened."""
    folder = _folder(subject)
    pickles = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix in PICKLES)
    require(not pickles, f"it ships {', '.join(pickles)}; store weights as safetensors")


def says_format_licence_and_source(subject: Subject) -> str:
    """``format`` tells who can open it; ``unknown`` licences are allowed and remarked."""
    plugin = subject.plugin
    require(bool(plugin.format), "format is empty; say which loader opens the folder (diffusers, features, ...)")
    require(bool(plugin.licence and plugin.source), "licence and source must not be empty; write unknown if they are")
    if plugin.format == "diffusers":
        require((_folder(subject) / "model_index.json").is_file(), "a diffusers folder has a model_index.json")
    return "" if plugin.licence != "unknown" else "its licence is unknown"


def _folder(subject: Subject) -> Path:
    folder: Path = subject.plugin.folder()
    require(isinstance(folder, Path), f"folder() must return a pathlib.Path; got {type(folder).__name__}")
    return folder
