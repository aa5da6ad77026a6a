"""``pathmnist``, ``dermamnist`` and ``bloodmnist``: medical images of MedMNIST at 28 px.

The paper preset uses at most 500 training images of each class, as Diffusion Inversion, Zhou et al. 2023. Which ones
differs: the authors' code takes the first 500 of each class for its embeddings, here the seed draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchbench.plugins import DatasetInfo

from ._arrays import PublishedArrays
from ._published import Release

if TYPE_CHECKING:
    from ._cache import Source

SIDE = 28
#: Part of a dataset by the package's name for it.
PARTS = {"train": "train", "val": "validation", "test": "test"}
RECORD = "https://zenodo.org/records/10519652/files"


def _release(
    name: str,
    title: str,
    md5: str,
    named: dict[str, str],
    parts: tuple[int, int, int],
    class_counts: tuple[int, ...],
    prompt: str,
    licence: str,
    origin: str,
) -> Release:
    info = DatasetInfo(
        name=name,
        classes=tuple(named),
        counts=dict(zip(("train", "validation", "test"), parts, strict=True)),
        class_counts=class_counts,
        resolution=SIDE,
        classify_resolution=SIDE,
        generate_resolution=128,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        flip_keeps_class=True,
        foundation="CompVis/stable-diffusion-v1-4",
        prompt=prompt,
        prompt_names=tuple(named.values()),
        paper_cap=500,
        optimizer="adamw",
        licence=licence,
        source=f"{title} of MedMNIST (Yang et al. 2023), 28 px, as the package medmnist fetches it; {origin}",
        paper="Diffusion Inversion, Zhou et al. 2023, Tables 3 and 7",
        notes=("the prompt is this project's own",),
    )
    url = f"{RECORD}/{name}.npz?download=1"
    return Release(info, title, url, f"{name}.npz", md5, limit=2**30)  # PathMNIST takes 252 MB


@dataclass(frozen=True)
class _MedMNIST(PublishedArrays):
    """Any of them: six arrays in one file, whose checksum is that of arrays of the right types and shapes."""

    def _read(self, place: Path) -> dict[str, Source]:
        import numpy as np

        from ._cache import Source

        with np.load(place, allow_pickle=False) as arrays:
            return {
                ours: Source(arrays[f"{theirs}_labels"][:, 0], SIDE, [arrays[f"{theirs}_images"]])
                for theirs, ours in PARTS.items()
            }


@dataclass(frozen=True)
class PathMNIST(_MedMNIST):
    """Histology of colorectal cancer in nine kinds of tissue, 28x28 RGB; 89,996 train, 10,004 validation, 7,180 test.

    Read from ``pathmnist.npz``, whose checksum is verified. The test images come from another clinical centre than the
    others. Classes are unbalanced. Under the paper preset at most 500 training images of each class are used, and
    AdamW, as in Diffusion Inversion, Zhou et al. 2023; the authors' code takes the first 500 of each class for its
    embeddings, here the seed draws them.
    """

    release: ClassVar[Release] = _release(
        "pathmnist",
        "PathMNIST",
        "a8b06965200029087d5bd730944a56c1",
        {
            "adipose": "adipose tissue",
            "background": "background without tissue",
            "debris": "debris",
            "lymphocytes": "lymphocytes",
            "mucus": "mucus",
            "smooth muscle": "smooth muscle",
            "normal colon mucosa": "normal colon mucosa",
            "cancer-associated stroma": "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium": "colorectal adenocarcinoma epithelium",
        },
        (89996, 10004, 7180),
        (9366, 9509, 10360, 10401, 8006, 12182, 7886, 9401, 12885),
        "a histology image of {}.",
        "CC BY 4.0",
        "images of Kather et al. 2019",
    )


@dataclass(frozen=True)
class DermaMNIST(_MedMNIST):
    """Dermatoscopic images of seven kinds of skin lesions, 28x28 RGB; 7,007 train, 1,003 validation, 2,005 test.

    Read from ``dermamnist.npz``, whose checksum is verified. Classes are very unbalanced: two thirds of the images are
    melanocytic nevi, and the smallest class has 80 training images. Under the paper preset at most 500 training images
    of each class are used, and AdamW, as in Diffusion Inversion, Zhou et al. 2023; the authors' code takes the first
    500 of each class for its embeddings, here the seed draws them.
    """

    release: ClassVar[Release] = _release(
        "dermamnist",
        "DermaMNIST",
        "0744692d530f8e62ec473284d019b0c7",
        {
            "actinic keratoses and intraepithelial carcinoma": "actinic keratosis or intraepithelial carcinoma",
            "basal cell carcinoma": "basal cell carcinoma",
            "benign keratosis-like lesions": "a benign keratosis-like lesion",
            "dermatofibroma": "dermatofibroma",
            "melanoma": "melanoma",
            "melanocytic nevi": "a melanocytic nevus",
            "vascular lesions": "a vascular lesion",
        },
        (7007, 1003, 2005),
        (228, 359, 769, 80, 779, 4693, 99),
        "a dermatoscopic image of {}.",
        "CC BY-NC 4.0",
        "images of HAM10000 (Tschandl et al. 2018)",
    )


@dataclass(frozen=True)
class BloodMNIST(_MedMNIST):
    """Microscope images of eight kinds of blood cells, 28x28 RGB; 11,959 train, 1,712 validation, 3,421 test.

    Read from ``bloodmnist.npz``, whose checksum is verified. Classes are unbalanced. Under the paper preset at most 500
    training images of each class are used, and AdamW, as in Diffusion Inversion, Zhou et al. 2023; the authors' code
    takes the first 500 of each class for its embeddings, here the seed draws them.
    """

    release: ClassVar[Release] = _release(
        "bloodmnist",
        "BloodMNIST",
        "7053d0359d879ad8a5505303e11de1dc",
        {
            "basophil": "a basophil",
            "eosinophil": "an eosinophil",
            "erythroblast": "an erythroblast",
            "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)": "an immature granulocyte",
            "lymphocyte": "a lymphocyte",
            "monocyte": "a monocyte",
            "neutrophil": "a neutrophil",
            "platelet": "a platelet",
        },
        (11959, 1712, 3421),
        (852, 2181, 1085, 2026, 849, 993, 2330, 1643),
        "a microscope image of {}.",
        "CC BY 4.0",
        "images of Acevedo et al. 2020",
    )
