"""Which name a number may carry: "FID" and "KID" belong to one network with one set of weights.

The same formula on other features is another quantity: two extractors disagree by orders of magnitude and in
their ranking. So every other extractor stands in the heading.
"""

from __future__ import annotations

#: Extractor ids of FID's Inception network, each with the resize that images pass before it, which moves FID. A metric
#: may write them only after checking the hash of the weights.
INCEPTIONS = {"inception": "torch-fidelity", "inception-legacy": "StudioGAN legacy"}


def heading(extractor: str) -> str:
    """Return the heading of a Fréchet distance: ``FID (torch-fidelity)`` or ``FD (glyphcnn-v1)``; ``FD`` for none."""
    return _named("FID" if extractor in INCEPTIONS else "FD", extractor)


def kernel_heading(extractor: str) -> str:
    """Return the heading of a kernel distance: ``KID (torch-fidelity)`` or ``KD (glyphcnn-v1)``; ``KD`` for none."""
    return _named("KID" if extractor in INCEPTIONS else "KD", extractor)


def _named(name: str, extractor: str) -> str:
    return f"{name} ({INCEPTIONS.get(extractor, extractor)})" if extractor else name
