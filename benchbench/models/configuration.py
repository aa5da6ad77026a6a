"""Reads a pretrained folder's configuration files; needs no torch, so that plans can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import UsageError


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
