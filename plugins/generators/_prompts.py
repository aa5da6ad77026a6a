"""Sentences in the place of the class in a dataset's template."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from benchbench.plugins import DatasetInfo


class Frame(NamedTuple):
    """A template filled with one class and taken apart around the words for what is seen.

    Attributes:
        opening: ``"a photo of "``.
        concept: ``"the digit seven"``.
        ending: the words behind it, without a full stop: ``""``.
    """

    opening: str
    concept: str
    ending: str

    def prompt(self, sentence: str) -> str:
        """Return the frame around a sentence in place of the concept, without a full stop, as He et al. write it."""
        words = sentence.strip().rstrip(" .!")
        first, _, _ = words.partition(" ")
        if first in ("A", "An", "The"):
            words = first.lower() + words[len(first) :]
        return f"{self.opening}{words}{self.ending}"


def class_frames(info: DatasetInfo, template: str | None) -> list[Frame]:
    """Return the frame of each class, in label order.

    What stands before the first " of " is the opening, and words between it and the class belong to the concept:
    "a photo of the digit {}." has the concept "the digit seven". A template without " of " opens with all that
    stands before the class.

    Args:
        info: the dataset; without ``prompt_names`` its class names are used.
        template: in place of the dataset's.
    """
    before, _, after = (template or info.prompt).partition("{}")
    opening, of, kind = before.partition(" of ")
    opening, kind = (opening + of, kind) if of else (before, "")
    return [Frame(opening, f"{kind}{name}", after.rstrip(" .!")) for name in info.prompt_names or info.classes]
