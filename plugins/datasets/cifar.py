"""``cifar10`` and ``cifar100``: small photos of ten and of a hundred kinds of things.

The published files are pickles. A pickle names functions and calls them; whoever opens one with ``pickle`` runs the
code of its author. Here only the names that an array of numbers is built from can be found, and anything else ends the
reading.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchbench.errors import UsageError
from benchbench.plugins import DatasetInfo

from ._arrays import PublishedArrays, problem_of_labels
from ._published import Release, with_article

if TYPE_CHECKING:
    from ._cache import Source

SIDE = 32
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
#: The fine labels, in the order of the published file: alphabetical.
# fmt: off
CIFAR100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
    "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard",
    "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum",
    "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper",
    "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf",
    "woman", "worm",
)
# fmt: on
#: Classes whose name takes no article, or the definite one.
ARTICLES = {"cattle": "cattle", "sea": "the sea"}
#: What arrays, and byte strings in pickles for Python 2, are built from; none of it runs code or opens a file.
ALLOWED = frozenset(
    {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),
    }
)


def _release(
    name: str,
    title: str,
    classes: tuple[str, ...],
    moments: tuple[tuple[float, float, float], tuple[float, float, float]],
    md5: str,
    folder: str,
    files: Mapping[str, str],
) -> Release:
    archive = f"{name.replace('cifar', 'cifar-')}-python.tar.gz"
    info = DatasetInfo(
        name=name,
        classes=classes,
        counts={"train": 50000, "validation": 0, "test": 10000},
        class_counts=(50000 // len(classes),) * len(classes),
        resolution=SIDE,
        classify_resolution=SIDE,
        generate_resolution=128,
        mean=moments[0],
        std=moments[1],
        flip_keeps_class=True,
        foundation="CompVis/stable-diffusion-v1-4",
        prompt="a photo of {}.",
        prompt_names=tuple(ARTICLES.get(item) or with_article(item.replace("_", " ")) for item in classes),
        group_size=1000,
        licence="none stated by the authors",
        source=f"{title} (Krizhevsky 2009), the Python version, as torchvision.datasets.{name.upper()} fetches it",
        paper="Diffusion Inversion, Zhou et al. 2023, Fig. 5 and 6, Tables 1, 6 and 7",
    )
    url = f"https://www.cs.toronto.edu/~kriz/{archive}"
    return Release(info, title, url, archive, md5, folder, files=files)


@dataclass(frozen=True)
class _CIFAR(PublishedArrays):
    """Either dataset; its files are the training batches, the test batch and the names of the classes."""

    def _read(self, place: Path) -> dict[str, Source]:
        *train, test, names = self.release.files
        classes, held = list(self.release.info.classes), plain(place / names)
        named = held.get("label_names", held.get("fine_label_names")) if isinstance(held, dict) else None
        if not isinstance(named, list) or named != classes:
            raise UsageError(
                f"{place / names}: does not name the {len(classes)} published classes in their order; move it away and "
                "fetch it again"
            )
        parts = {"train": train, "test": [test]}
        return {part: _part([place / name for name in names], len(classes)) for part, names in parts.items()}


@dataclass(frozen=True)
class CIFAR10(_CIFAR):
    """Photos of ten kinds of animals and vehicles, 32x32 RGB; 50,000 train, 10,000 test, balanced.

    Read from ``cifar-10-python.tar.gz``, whose checksum is verified, or from ``cifar-10-batches-py``, whose files are
    compared with the published ones; a difference is noted. The pickles in it are read as plain numbers: one that asks
    for more than arrays is refused. There is no validation part. Images are in the published order, batch after batch.
    Normalisation and the resolution of generation (128 px) are those of Diffusion Inversion, Zhou et al. 2023; prompts
    are "a photo of an airplane.".
    """

    release: ClassVar[Release] = _release(
        "cifar10",
        "CIFAR-10",
        CIFAR10_CLASSES,
        ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "c58f30108f718f92721af3b95e74349a",
        "cifar-10-batches-py",
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    )


@dataclass(frozen=True)
class CIFAR100(_CIFAR):
    """Photos of a hundred kinds of things (the fine labels), 32x32 RGB; 50,000 train, 10,000 test, balanced.

    Read from ``cifar-100-python.tar.gz`` or ``cifar-100-python`` as ``cifar10`` is. There is no validation part.
    Images are in the published order. Normalisation and the resolution of generation (128 px) are those of Diffusion
    Inversion, Zhou et al. 2023; prompts are "a photo of an aquarium fish.".
    """

    release: ClassVar[Release] = _release(
        "cifar100",
        "CIFAR-100",
        CIFAR100_CLASSES,
        ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
        "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-python",
        {
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    )


def _part(files: Iterable[Path], classes: int) -> Source:
    import numpy as np

    from ._cache import Source

    blocks, labels = [], []
    for file in files:
        held = plain(file)
        if problem := _problem_of_batch(held, classes):
            raise UsageError(f"{file}: {problem}; move it away and fetch it again")
        blocks.append(held["data"].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1))
        labels += held.get("labels", held.get("fine_labels"))
    return Source(np.array(labels, dtype=np.int64), SIDE, blocks)


def _problem_of_batch(held: Any, classes: int) -> str:
    import numpy as np

    if not isinstance(held, dict):
        return f"holds no batch but a {type(held).__name__}"
    data = held.get("data")
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == 3072):
        got = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        return f"the pixels must be uint8 (N, 3072); got {got}"
    labels = held.get("labels", held.get("fine_labels"))
    if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
        return "has no list of labels"
    if len(labels) != len(data):
        return f"has {len(labels):,} label{'s' * (len(labels) != 1)} for {len(data):,} image{'s' * (len(data) != 1)}"
    return problem_of_labels(labels, 0, classes - 1)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise UsageError(
                f"refused: this pickle asks for {module}.{name}, which no array needs and which may run foreign code; "
                "move it away and fetch the published file"
            )
        return super().find_class(module, name)


def plain(path: Path) -> Any:
    """Return what a pickle holds: numbers, texts (bytes as Latin-1), lists, dictionaries and arrays.

    Args:
        path: the file.

    Raises:
        UsageError: the pickle names anything but what arrays are made of (the name is in the message), or is damaged.
    """
    try:
        return _Plain(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path}: damaged ({reason}); move it away and fetch it again") from None
