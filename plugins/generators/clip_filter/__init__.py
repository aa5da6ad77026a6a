"""The CLIP filter of He et al. 2023 behind any generator."""

from .plugin import ClipFilter

__all__ = ["ClipFilter"]
