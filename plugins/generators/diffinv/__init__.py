"""Diffusion Inversion (Zhou et al. 2023): learn one conditioning per real image, then sample around it."""

from .plugin import DiffusionInversion

__all__ = ["DiffusionInversion"]
