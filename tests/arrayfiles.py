"""Small CIFAR, STL-10 and MedMNIST files in the exact formats of the published ones."""

from __future__ import annotations

import hashlib
import struct
import tarfile
from pathlib import Path

import numpy as np

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def noise(count: int, side: int, seed: int) -> np.ndarray:
    """Return uint8 images (count, side, side, 3) of which no two are equal."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def cycle(count: int, classes: int, seed: int) -> np.ndarray:
    """Return labels that hold every class, in no simple order."""
    return np.random.default_rng(seed).permutation(np.arange(count) % classes)


def write_pickle(path: Path, content: object) -> None:
    """Write a pickle as Python 2 and the NumPy of its time wrote CIFAR: byte strings, arrays of ``numpy.core``."""
    path.write_bytes(b"\x80\x02" + _python2(content) + b".")


def _python2(item: object) -> bytes:
    """Return the opcodes of a value; Python 3's pickler has none for the byte strings of Python 2."""
    if isinstance(item, str):
        raw = item.encode("latin1")
        return b"T" + struct.pack("<i", len(raw)) + raw
    if isinstance(item, bytes):
        return b"T" + struct.pack("<i", len(item)) + item
    if item is None or isinstance(item, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[item]
    if isinstance(item, int):
        return b"J" + struct.pack("<i", item)
    if isinstance(item, list):
        return b"](" + b"".join(map(_python2, item)) + b"e"
    if isinstance(item, tuple):
        return b"(" + b"".join(map(_python2, item)) + b"t"
    if isinstance(item, dict):
        return b"}(" + b"".join(_python2(part) for pair in item.items() for part in pair) + b"u"
    assert isinstance(item, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _python2((0,)) + _python2("b") + b"tR"
    order, kind = item.dtype.str[0], item.dtype.str[1:]
    dtype = (
        b"cnumpy\ndtype\n" + _python2((kind, 0, 1)) + b"R" + _python2((3, order, None, None, None, -1, -1, 0)) + b"b"
    )
    return (
        empty + b"(" + _python2(1) + _python2(item.shape) + dtype + _python2(False) + _python2(item.tobytes()) + b"tb"
    )


def cifar_rows(images: np.ndarray) -> np.ndarray:
    """Return images as CIFAR stores them: 1,024 red values, row after row, then green, then blue."""
    return np.stack([np.concatenate([image[:, :, channel].ravel() for channel in range(3)]) for image in images])


def write_cifar10(folder: Path, train: np.ndarray, train_y: np.ndarray, test: np.ndarray, test_y: np.ndarray) -> Path:
    """Write ``cifar-10-batches-py`` below a folder, the training images in five batches."""
    place = folder / "cifar-10-batches-py"
    place.mkdir(parents=True)
    for number, members in enumerate(np.array_split(np.arange(len(train)), 5), 1):
        write_batch(place / f"data_batch_{number}", train[members], train_y[members], f"training batch {number} of 5")
    write_batch(place / "test_batch", test, test_y, "testing batch 1 of 1")
    meta = {"num_cases_per_batch": 10000, "label_names": list(CIFAR10), "num_vis": 3072}
    write_pickle(place / "batches.meta", meta)
    return place


def write_batch(path: Path, images: np.ndarray, labels: np.ndarray, title: str) -> None:
    """Write one batch of CIFAR-10."""
    names = [f"image_s_{number:06d}.png" for number in range(len(images))]
    content = {"batch_label": title, "labels": labels.tolist(), "data": cifar_rows(images), "filenames": names}
    write_pickle(path, content)


def write_cifar100(folder: Path, classes: tuple[str, ...], parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """Write ``cifar-100-python`` below a folder; ``parts`` are images and fine labels of train and test."""
    place = folder / "cifar-100-python"
    place.mkdir(parents=True)
    for name, (images, labels) in parts.items():
        content = {
            "filenames": [f"{number}.png" for number in range(len(images))],
            "batch_label": f"{name}ing batch 1 of 1",
            "fine_labels": labels.tolist(),
            "coarse_labels": (labels // 5).tolist(),
            "data": cifar_rows(images),
        }
        write_pickle(place / name, content)
    coarse = [f"coarse_{number}" for number in range(20)]
    write_pickle(place / "meta", {"fine_label_names": list(classes), "coarse_label_names": coarse})
    return place


def write_stl10(folder: Path, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """Write ``stl10_binary`` below a folder: channel after channel, column after column, labels from 1."""
    place = folder / "stl10_binary"
    place.mkdir(parents=True)
    for name, (images, labels) in parts.items():
        with (place / f"{name}_X.bin").open("wb") as out:
            for image in images:
                for channel in range(3):
                    for column in range(96):
                        out.write(np.ascontiguousarray(image[:, column, channel]).tobytes())
        (place / f"{name}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
    (place / "class_names.txt").write_text("\n".join(STL10) + "\n")
    (place / "fold_indices.txt").write_text("0 1 2\n")
    (place / "unlabeled_X.bin").write_bytes(bytes(3 * 96 * 96))
    return place


def write_medmnist(path: Path, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """Write a MedMNIST file: six arrays, labels (N, 1)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{name}_images": images for name, (images, _) in parts.items()}
    arrays |= {f"{name}_labels": labels[:, None].astype(np.uint8) for name, (_, labels) in parts.items()}
    np.savez_compressed(path, **arrays)
    return path


def pack(folder: Path, archive: Path) -> str:
    """Write a folder into a tar.gz under its own name; returns the MD5."""
    with tarfile.open(archive, "w:gz") as out:
        out.add(folder, folder.name)
    return md5(archive)


def md5(path: Path) -> str:
    """Return the MD5 of a file."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
