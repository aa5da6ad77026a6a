"""Nearest neighbours of the real images in a pool of pictures (Zhou et al. 2023, the retrieval baseline)."""

from .plugin import KNN

__all__ = ["KNN"]
