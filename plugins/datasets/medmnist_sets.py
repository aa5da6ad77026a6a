"""``pathmnist``, ``dermamnist`` and ``bloodmnist``: medical images of MedMNIST at 28 px.

The paper preset uses at most 500 training images of each class, as Diffusion Inversion, Zhou et al. 2023. Which ones
differs: the authors' code takes the first 500 of each class for its embeddings, here the seed draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

from benchbench.errors import UsageError
from benchbench.plugins import DatasetInfo

from ._arrays import LocalFiles, PublishedArrays, blocks, check_labels, reading
from ._published import Release

if TYPE_CHECKING:
    import numpy as np

    from ._cache import Source

SIDE = 28
#: Part of a dataset by the package's name for it.
PARTS = {"train": "train", "val": "validation", "test": "test"}
RECORD = "https://zenodo.org/records/10519652/files"


def _release(
    name: str,
    title: str,
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
    return Release(info, title, url, f"{name}.npz", limit=2**30, library="medmnist")  # PathMNIST takes 252 MB


@dataclass(frozen=True)
class _MedMNIST(PublishedArrays):
    """Any of them, by the reader of the authors' package."""

    def _checksum(self) -> str:
        return str(_published(self.release)["MD5"])

    def _read(self, local: LocalFiles, scratch: Path) -> dict[str, Source]:
        import medmnist

        (file,) = local.files
        self._verify(file)
        _check_arrays(file, self.release, self._subject)
        (scratch / self.release.archive).symlink_to(file.absolute())  # the package looks for this name
        library = getattr(medmnist, _published(self.release)["python_class"])
        parts = {ours: _part(library, theirs, file, scratch, self._subject) for theirs, ours in PARTS.items()}
        for name, part in parts.items():
            check_labels(part.labels, name, self.release, f"{self._subject}: {file}")
        return parts


@dataclass(frozen=True)
class PathMNIST(_MedMNIST):
    """Histology of colorectal cancer in nine kinds of tissue, 28x28 RGB; 89,996 train, 10,004 validation, 7,180 test.

    Read by the package medmnist from ``pathmnist.npz``, whose checksum is verified. The test images come from another
    clinical centre than the others. Classes are unbalanced. Under the paper preset at most 500 training images of
    each class are used, and AdamW, as in Diffusion Inversion, Zhou et al. 2023; the authors' code takes the first 500
    of each class for its embeddings, here the seed draws them.
    """

    release: ClassVar[Release] = _release(
        "pathmnist",
        "PathMNIST",
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

    Read by the package medmnist from ``dermamnist.npz``, whose checksum is verified. Classes are very unbalanced: two
    thirds of the images are melanocytic nevi, and the smallest class has 80 training images. Under the paper preset
    at most 500 training images of each class are used, and AdamW, as in Diffusion Inversion, Zhou et al. 2023; the
    authors' code takes the first 500 of each class for its embeddings, here the seed draws them.
    """

    release: ClassVar[Release] = _release(
        "dermamnist",
        "DermaMNIST",
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

    Read by the package medmnist from ``bloodmnist.npz``, whose checksum is verified. Classes are unbalanced. Under
    the paper preset at most 500 training images of each class are used, and AdamW, as in Diffusion Inversion, Zhou
    et al. 2023; the authors' code takes the first 500 of each class for its embeddings, here the seed draws them.
    """

    release: ClassVar[Release] = _release(
        "bloodmnist",
        "BloodMNIST",
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


def _published(release: Release) -> Any:
    """Return what the package knows of a dataset: its checksum, the name of its class."""
    import medmnist

    return medmnist.INFO[release.info.name]


def _part(library: Any, split: str, file: Path, root: Path, subject: str) -> Source:
    from ._cache import Source

    with reading("medmnist", f"the {split} part of {file}", subject):
        content = library(split=split, root=str(root), download=False)
        return Source(content.labels[:, 0], SIDE, blocks(content.imgs))


def _check_arrays(file: Path, release: Release, subject: str) -> None:
    """Look at the names, types and shapes of a file's arrays before any is read; refuses Python objects."""
    from ._archives import opened_zip

    with opened_zip(file, subject, release.limit, "remove it and fetch it again") as archive:
        names = set(archive.namelist())
        for split in PARTS:
            headers = []
            for what in ("images", "labels"):
                name = f"{split}_{what}.npy"
                if name not in names:
                    raise UsageError(f"{subject}: {file}: has no array {split}_{what}; fetch it again")
                with archive.open(name) as stream:
                    headers.append(_header(stream))
            if problem := _problem(*headers):
                raise UsageError(f"{subject}: {file}: {split}_{problem}; fetch it again")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    import numpy as np

    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _problem(images: tuple[tuple[int, ...], np.dtype[Any]], labels: tuple[tuple[int, ...], np.dtype[Any]]) -> str:
    import numpy as np

    if images[1].hasobject or labels[1].hasobject:
        which = "images" if images[1].hasobject else "labels"
        return f"{which} holds Python objects, which are not read: loading them can run foreign code"
    if images[1] != np.uint8 or images[0][1:] != (SIDE, SIDE, 3):
        return f"images must be uint8 (N, 28, 28, 3); got {images[1]} {images[0]}"
    if labels[1].kind not in "iu" or labels[0] != (images[0][0], 1):
        return f"labels must be whole numbers ({images[0][0]}, 1); got {labels[1]} {labels[0]}"
    return ""
