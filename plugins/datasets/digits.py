"""``digits``: scikit-learn's 1,797 real handwritten digits, the dataset that needs no download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchbench.errors import BenchError
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, param
from benchbench.plugins.context import derive_seed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Words as the prompts spell them, in label order.
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: Images per class in the training and the validation part; the other 547 are the test part.
TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 100, 25
#: Side of the generated and stored images in px; the originals are 8x8.
SIDE = 32
#: SHA-256 of the 1,797 x 64 values and the labels, as uint8, that the parts were fixed on.
CONTENT = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


@dataclass(frozen=True)
class Digits(Dataset):
    """Handwritten digits, 8x8 originals enlarged to 32x32 RGB; 1,000 train, 250 validation, 547 test.

    The pixel values 0..16 become 0..255 and are enlarged by Pillow's bicubic filter. Parts are stratified and
    fixed for ever: each class is ordered by a hash of the image's index, the first 100 train, the next 25
    validate and the rest (53 to 58) test. Within a part, images are in the order of their index in
    ``load_digits``.
    """

    classify_resolution: int = param(
        16, paper=32, low=8, high=32, stage="train", help="Side in px at which classifiers see the images."
    )

    def info(self) -> DatasetInfo:
        """Return the facts; constants, which ``load`` and the tests verify, so that planning imports
        nothing.
        """
        return DatasetInfo(
            name="digits",
            classes=tuple(str(digit) for digit in range(10)),
            counts={"train": 1000, "validation": 250, "test": 547},
            class_counts=(TRAIN_PER_CLASS,) * 10,
            resolution=SIDE,
            classify_resolution=self.classify_resolution,
            generate_resolution=SIDE,
            mean=(0.3105, 0.3105, 0.3105),
            std=(0.3495, 0.3495, 0.3495),
            flip_keeps_class=False,
            foundation="glyph-sd",
            prompt="a photo of the digit {}",
            prompt_names=NAMES,
            quick_shots=5,
            usual_draws=3,
            usual_seeds=1,
            control_archs=("shufflenetv2", "mobilenetv2"),  # the lightest; the others take most of a run's time
            licence="CC BY 4.0",
            source="scikit-learn's load_digits, a copy of the test set of UCI 'Optical Recognition of "
            "Handwritten Digits' (Alpaydin and Kaynak, 1998)",
        )

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, 32, 32, 3)``; ``source`` of an origin is the index in
        ``load_digits``.

        Raises:
            BenchError: the installed scikit-learn holds other digits than those that the parts were fixed on.
        """
        images, labels = read()
        chosen = indices(labels)[split]
        origins = [{"source": int(index)} for index in chosen]
        return ImageSet(images[chosen], labels[chosen], self.info().classes, origins)


def read() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all images, uint8 ``(1797, 32, 32, 3)``, and labels, int64 ``(1797,)``, in scikit-learn's order.

    Raises:
        BenchError: the values differ from those that the parts were fixed on.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    values, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    if hashlib.sha256(values.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest() != CONTENT:
        raise BenchError(
            "digits: the installed scikit-learn holds other digits than the 1,797 that the parts were fixed "
            "on; install another version of scikit-learn"
        )
    scaled = np.rint(values * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in scaled]
    return np.repeat(np.stack(large)[..., None], 3, axis=3), labels


def indices(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return ascending indices of ``train``, ``validation`` and ``test``, the first two with as many of each class.

    Classes are ordered by a hash of the index rather than by a random generator, so that no library version
    and no seed can ever move an image from one part to another.
    """
    import numpy as np

    cuts = (TRAIN_PER_CLASS, TRAIN_PER_CLASS + VALIDATION_PER_CLASS)
    classes = []
    for label in range(10):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=lambda at: derive_seed("digits", "parts", at))
        classes.append(np.split(members, cuts))
    parts = (np.sort(np.concatenate(part)) for part in zip(*classes, strict=True))
    return dict(zip(("train", "validation", "test"), parts, strict=True))
