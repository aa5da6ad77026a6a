"""In which precision each stage computes.

``fp32`` is full float32. ``tf32`` lets a GPU round the factors of products to 10 bits. ``bf16`` is mixed precision
everywhere. ``fp16`` is half precision for networks that only run forward: what is trained stays fp32, so that no
gradient can underflow and none has to be scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError

PRECISIONS = ("auto", "fp32", "tf32", "fp16", "bf16")
#: What a CPU has no fast arithmetic for.
_ACCELERATOR_ONLY = ("tf32", "fp16")


@dataclass(frozen=True)
class Precision:
    """The precision of a plan.

    Attributes:
        learning: of what computes gradients: classifiers, and ``fit`` of generators.
        sampling: of generators that only run networks forward.
    """

    learning: str
    sampling: str

    def of(self, stage: str, *, forward_only: bool = False) -> str:
        """Return the precision of a step: of ``sample`` and ``transform``, or of any other stage.

        Args:
            stage: of the step.
            forward_only: whether a ``fit`` computes no gradient, so that it counts as sampling.
        """
        samples = stage in ("sample", "transform") or (stage == "fit" and forward_only)
        return self.sampling if samples else self.learning

    def __str__(self) -> str:
        return self.learning if self.learning == self.sampling else f"{self.learning}, sampling {self.sampling}"


def choose_precision(wanted: str, device: str, preset: str) -> Precision:
    """Return the precision of a plan.

    ``auto`` is fp32 on a CPU. On an accelerator ``quick`` takes bf16, and ``paper`` what the authors of Diffusion
    Inversion took (Zhou et al. 2023, their published code): embeddings and classifiers in fp32, samples in fp16.

    Raises:
        UsageError: a CPU was asked for what only an accelerator computes fast.
    """
    if device == "cpu" and wanted in _ACCELERATOR_ONLY:
        raise UsageError(f"--precision {wanted}: needs an accelerator; on a CPU there are fp32 and bf16")
    if wanted == "fp16" or (wanted == "auto" and device != "cpu" and preset == "paper"):
        return Precision("fp32", "fp16")
    if wanted == "auto":
        wanted = "fp32" if device == "cpu" else "bf16"
    return Precision(wanted, wanted)
