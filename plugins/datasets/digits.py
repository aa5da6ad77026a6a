"""``digits``: scikit-learn's 1,797 real handwritten digits, the dataset that needs no download."""

from __future__ import annotations

from dataclasses import dataclass

from benchbench.errors import BenchError
from benchbench.plugins import Context, Dataset, DatasetInfo, ImageSet, param

#: Words as the prompts spell them, in label order.
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: Images per class in the training and the validation part; the other 547 are the test part.
TRAIN_PER_CLASS, VALIDATION_PER_CLASS = 100, 25
#: Side of the generated and stored images in px; the originals are 8x8.
SIDE = 32


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
            licence="CC BY 4.0",
            source="scikit-learn's load_digits, a copy of the test set of UCI 'Optical Recognition of "
            "Handwritten Digits' (Alpaydin and Kaynak, 1998)",
        )

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float | None:
        """Estimate the CPU seconds of loading: importing scikit-learn is nearly all of it."""
        return 2.0 if stage == "data" else None

    def load(self, split: str, context: Context) -> ImageSet:
        """Return one part as uint8 ``(N, 32, 32, 3)``; ``source`` of an origin is the index in
        ``load_digits``.

        Raises:
            BenchError: the installed scikit-learn holds other digits than those that the parts were fixed on.
        """
        from ._digits import parts, read

        info = self.info()
        images, labels = read(SIDE)
        chosen = parts(labels, TRAIN_PER_CLASS, VALIDATION_PER_CLASS)[split]
        if len(chosen) != info.counts[split]:
            raise BenchError(f"digits: {len(chosen)} {split} images where {info.counts[split]} belong; report this")
        origins = [{"source": int(index)} for index in chosen]
        return ImageSet(images[chosen], labels[chosen], info.classes, origins)
