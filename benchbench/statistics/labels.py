"""Which name a number may carry: "FID" and "KID" belong to one network with one set of weights.

The same formula on other features is another quantity: two extractors disagree by orders of magnitude and in
their ranking. So every other extractor stands in the heading.
"""

from __future__ import annotations

#: Extractor id of FID's Inception network. A metric may write it only after checking the hash of the weights.
INCEPTION = "inception"


def heading(extractor: str) -> str:
    """Return the column of a Fréchet distance: ``"FID"`` or ``"FD (glyphcnn-v1)"``; ``"FD"`` for none."""
    return "FID" if extractor == INCEPTION else _named("FD", extractor)


def kernel_heading(extractor: str) -> str:
    """Return the column of a kernel distance: ``"KID"`` or ``"KD (glyphcnn-v1)"``; ``"KD"`` for none."""
    return "KID" if extractor == INCEPTION else _named("KD", extractor)


def _named(name: str, extractor: str) -> str:
    return f"{name} ({extractor})" if extractor else name
