"""Language enhancement and CLIP filter (He et al. 2023): class names to sentences to images to a selection."""

from .plugin import LECF

__all__ = ["LECF"]
