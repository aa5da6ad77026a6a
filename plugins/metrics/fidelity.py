"""``fidelity``: how near generated images are to the real ones, on the features of a pinned network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchbench.plugins import Column, Context, ImageSet, Metric, RequiredFile, Requirements, param
from benchbench.statistics.labels import heading, kernel_heading


@dataclass(frozen=True)
class Fidelity(Metric):
    """Fréchet and kernel distance, precision, recall, density and coverage against the real training images.

    On the embedded extractor the distances are FD and KD and order generators within this project only. They
    are FID and KID, computed by torch-fidelity, only on its Inception network with weights whose hash is
    right; without them that extractor is an error and never something else. Precision, recall, density and
    coverage with k = 5 are the measures of Diffusion Inversion, Zhou et al. 2023, table 2.
    """

    extractor: str = param(
        "glyphcnn-v1",
        choices=("glyphcnn-v1", "inception"),
        help="Network whose features are compared: the embedded one, or the Inception network of FID.",
    )
    nearest_k: int = param(5, low=1, help="Neighbours that span a ball in precision, recall, density and coverage.")
    images: int = param(
        10_000,
        low=0,
        help="Most generated images that are scored, a seeded choice of the rest left out; 0 for all.",
    )
    weights: str | None = param(
        None,
        help="Inception weights file; default $BENCH_INCEPTION_WEIGHTS, then torch-fidelity's own place.",
    )

    def __post_init__(self) -> None:
        if self.weights and self.extractor != "inception":
            raise ValueError("weights is for extractor=inception; the embedded extractor has its own")

    def columns(self) -> Sequence[Column]:
        """Return the two distances, the Fréchet distance of real images to real ones, and the four shares."""
        return (
            Column("fd", heading(self.extractor), 4, "less"),
            Column("fd_real", "of real images", 4),
            Column("kd", kernel_heading(self.extractor), 6, "less"),
            *(Column(name, name, 4, "more") for name in ("precision", "recall", "density", "coverage")),
        )

    def least_images(self) -> int:
        """Return one more than the neighbours that span a ball."""
        return self.nearest_k + 1

    def needs(self) -> Requirements:
        """Return the embedded extractor, or torch-fidelity and its weights; a wrong file is a UsageError."""
        if self.extractor != "inception":
            return Requirements(foundations=("glyph-cnn",), memory_gib=1.0)
        from .inception_file import SOURCE, WHAT, check_file, weights_path

        path = weights_path(self.weights)
        if path.exists():
            check_file(path)
        files = (RequiredFile(path, WHAT, SOURCE),)
        return Requirements(packages=("torch_fidelity",), files=files, memory_gib=3.0, accelerator=True)

    def external(self) -> tuple[Path, ...]:
        """Return the Inception weights, if they decide the result."""
        if self.extractor != "inception":
            return ()
        from .inception_file import weights_path

        return (weights_path(self.weights),)

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Return ``fd, kd, precision, recall, density, coverage, extractor, n_score, n_reference``, and more.

        Every image given is scored, but for ``images``, which leaves a line in ``warnings``. The other keys:
        ``fd_real`` (``fd`` of as many real images against the other real ones, ``None`` where they are too few),
        ``expected_coverage`` (of a perfect generator at these counts), ``warnings`` (sentences), and
        ``details``.

        Raises:
            BenchError: a set is too small, or its features are unusable.
            CorruptError: the embedded weights are not the pinned ones.
            MissingError: the Inception weights are not there.
            UsageError: the file with the Inception weights is another file.
        """
        from .scoring import score

        return score(self, real, synthetic, context)
