"""Which formats of pretrained models give features, told from their JSON files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchbench.errors import UsageError
from benchbench.files import read_json
from benchbench.models.clip.layout import OPEN_CLIP_CONFIG, ClipLayout, check_clip
from benchbench.models.timm_hub import CONFIG, Checkpoint, read_checkpoint

EXPECTED = (
    "expected a folder in timm's hub format (config.json with an architecture, model.safetensors), the folder of a "
    "transformers CLIPModel, or one with open_clip_config.json"
)


@dataclass(frozen=True)
class Frozen:
    """A model that gives features: either of the two is set.

    Attributes:
        timm: weights in timm's hub format.
        clip: a CLIP.
    """

    timm: Checkpoint | None = None
    clip: ClipLayout | None = None

    @property
    def package(self) -> str:
        """What opens it."""
        return self.clip.library if self.clip else "timm"

    @property
    def side(self) -> int:
        """Side in px of the images that it was trained on."""
        return self.clip.resolution if self.clip else self.timm.side if self.timm else 0


def recognised(folder: Path, subject: str) -> Frozen:
    """Return what a folder holds; timm's format goes first, as OpenAI's CLIPs are published in both.

    Raises:
        UsageError: neither format, or one of them damaged; one line that starts with ``subject``.
    """
    try:
        config = read_json(folder / CONFIG)
    except (OSError, ValueError):
        config = None
    if isinstance(config, dict) and "architecture" in config:
        return Frozen(timm=read_checkpoint(folder, subject))
    is_clip = isinstance(config, dict) and config.get("model_type") == "clip"
    if is_clip or (folder / OPEN_CLIP_CONFIG).is_file():
        return Frozen(clip=check_clip(folder, subject))
    raise UsageError(f"{subject}: gives no features of images; {EXPECTED}")
