"""Opens one network of a pretrained folder: safetensors only, complete, quietly, and with errors of one line.

The module imports no torch, so that plans can read configuration files with :func:`read_configuration`.
"""

from __future__ import annotations

import errno
import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..errors import BenchError, UsageError

P = ParamSpec("P")
T = TypeVar("T")


def open_part(load: Callable[..., Any], folder: Path, part: str, name: str, **options: Any) -> Any:
    """Call ``from_pretrained`` on one subfolder (``""``: the folder itself), from safetensors only.

    Raises:
        BenchError: weights that are truncated, or that do not fill the network.
    """
    weights = folder / part
    if all(".fp16." in item.name for item in weights.glob("*.safetensors")):
        options["variant"] = "fp16"
    with quiet(name, part, weights.glob("*.safetensors")):
        model, report = load(
            str(weights), use_safetensors=True, local_files_only=True, output_loading_info=True, **options
        )
    refuse_missing(report.get("missing_keys", ()), part, name)
    return model


def refuse_missing(missing: Iterable[str], part: str, name: str) -> None:
    """Raise ``BenchError`` if a subfolder of the foundation ``name`` lacks weights; the message names the first."""
    if lacking := sorted(missing):
        raise BenchError(
            f"{name}: {_place(part)} lacks {len(lacking)} weights that its config.json asks for "
            f"(first: {lacking[0]}); fetch the folder again"
        )


def _place(part: str) -> str:
    if not part:
        return "the folder"
    return part if " " in part else f"{part}/"


def check_safetensors(files: Iterable[Path], subject: str) -> None:
    """Read the header of each safetensors file, which says how long the file must be.

    Args:
        files: which ones.
        subject: the start of a message, up to the file's name.

    Raises:
        BenchError: a file is truncated, damaged or no safetensors file, or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    for file in sorted(files):
        try:
            with safe_open(str(file), framework="pt"):
                pass
        except (SafetensorError, OSError, ValueError) as error:
            why = unread(error)
            problem = f"cannot be read ({why})" if why else "is truncated, or no safetensors file"
            raise BenchError(f"{subject}{file.name} {problem}; fetch the folder again") from None


def unread(error: Exception) -> str:
    """Return what the operating system says against reading a file, ``""`` if the fault is in what it holds."""
    # Beyond the end of a truncated file, a reader's seek or map is an invalid argument.
    return (isinstance(error, OSError) and error.errno != errno.EINVAL and error.strerror) or ""


def reason(error: Exception) -> str:
    """Return in our words why a library could not open a network or a tokenizer.

    What a library says itself names its own options, or is cut after its first line.
    """
    said = str(error).lower()
    if isinstance(error, ImportError):
        return f"it needs a package that is not installed: {error.name or said.strip().split(chr(10))[0].split('.')[0]}"
    if why := unread(error):
        return why
    if "mismatch" in said or "shape" in said:
        return "weights have other shapes than config.json says"
    return f"its files are damaged or do not belong together: {type(error).__name__}"


@contextmanager
def quiet(name: str, part: str, weights: Iterable[Path] = ()) -> Iterator[None]:
    """Turn what a library raises while opening a part into one line, and silence its chatter.

    Args:
        name: how the user named the foundation.
        part: a subfolder, ``""`` for the folder itself, or words for a part of it (``"the tokenizer"``).
        weights: the safetensors files that are opened, if any; a damaged one is named.

    Raises:
        BenchError: what is opened raises anything but that the accelerator's memory is full.
    """
    import torch
    from transformers.utils import logging

    chatty = [logging]
    if "diffusers" in sys.modules:
        from diffusers.utils import logging as diffusers_logging

        chatty.append(diffusers_logging)
    before = [library.get_verbosity() for library in chatty]
    for library in chatty:
        library.set_verbosity_error()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # from_pretrained raises whatever its readers raise
        check_safetensors(weights, f"{name}: {f'{part}/' if part and ' ' not in part else ''}")
        raise BenchError(f"{name}: {_place(part)} cannot be opened ({reason(error)}); fetch the folder again") from None
    finally:
        for library, level in zip(chatty, before, strict=True):
            library.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def local_folder(name: str) -> Path | None:
    """Return the folder of a model, ``None`` where it is not on this machine: the preflight fetches it, or says so."""
    from ..plugins.locate import locate

    try:
        return locate(name)
    except UsageError:
        return None


def refuses_odd_values(read: Callable[Concatenate[Path, str, P], T]) -> Callable[Concatenate[Path, str, P], T]:
    """Decorate a reader of a model's folder, ``read(folder, name, ...)``, whose JSON may hold anything.

    Raises:
        UsageError: besides what the reader raises, a value of another kind than a configuration has there.
    """

    @functools.wraps(read)
    def careful(folder: Path, name: str, *given: P.args, **more: P.kwargs) -> T:
        try:
            return read(folder, name, *given, **more)
        except BenchError:
            raise
        except (TypeError, AttributeError, KeyError, IndexError, ValueError, ArithmeticError) as error:
            why = f"{type(error).__name__}: {error}"
            raise UsageError(f"{name}: its configuration has an odd value ({why}); fetch the folder again") from error

    return careful


def read_configuration(folder: Path, name: str, part: str, expected: str) -> dict[str, Any]:
    """Return the JSON object in ``folder / part``.

    Args:
        folder: the model's folder.
        name: start of messages.
        part: path of the file below the folder.
        expected: what such a folder holds, for the message when the file is missing.

    Raises:
        UsageError: missing, not JSON, or no object.
    """
    try:
        config = json.loads((folder / part).read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{name}: no {part} in the folder; {expected}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}: {part} cannot be read as JSON ({error}); fetch the folder again") from None
    if not isinstance(config, dict):
        raise UsageError(f"{name}: {part} is not a configuration (a JSON object); fetch the folder again")
    return config
