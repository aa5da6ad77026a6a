"""``fidelity``: how near generated images are to the real ones, on the features of a pinned network.

FID is defined by one file, the Inception weights. torch-fidelity trusts any file of the right name, so this module
checks the file, with the standard library only. A file that fails the check is an error: never a reason to fall back
on something else, and never a reason to use a network.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchbench.errors import BenchError, MissingError, UsageError
from benchbench.files import expanded, hash_file
from benchbench.machine import cores
from benchbench.plugins import Column, Context, DatasetInfo, ImageSet, Metric, RequiredFile, Requirements, param
from benchbench.statistics.labels import INCEPTIONS, heading, kernel_heading

#: SHA-256 of the weights; torch-fidelity and pytorch-fid publish the same bytes under different names.
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
FILE_NAME = "weights-inception-2015-12-05-6726825d.pth"
VARIABLE = "BENCH_INCEPTION_WEIGHTS"
WHAT = "Inception weights of FID"
SOURCE = (
    f"{FILE_NAME} of torch-fidelity's release v0.2.0 on GitHub; "
    f"or give fidelity:weights=FILE or set {VARIABLE}. "
    "fidelity:extractor=glyphcnn-v1 works now; its values are not comparable with published FID"
)


def hub_path() -> Path:
    """Return where torch-fidelity keeps the file, ``$TORCH_HOME/hub/checkpoints``, without torch."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return expanded(home) / "hub" / "checkpoints" / FILE_NAME


def weights_path(weights: str | None) -> Path:
    """Return the one file that counts: the parameter's, else the variable's, else torch-fidelity's."""
    chosen = weights or os.environ.get(VARIABLE)
    return expanded(chosen) if chosen else hub_path()


def check_file(path: Path) -> str:
    """Return the SHA-256 of ``path`` if it is the Inception weights of FID; remembered while it is the same.

    Raises:
        MissingError: there is no such file.
        UsageError: there is one, and it is another file or cannot be read.
    """
    try:
        stat = path.stat()
        digest = _sha256_of(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        raise MissingError(f"fidelity:extractor=inception: {WHAT} not found at {path}; they are {SOURCE}") from None
    except OSError as error:
        raise UsageError(f"fidelity:weights={path}: cannot be read ({error.strerror}); {WHAT} are one file") from None
    return _require(digest, path)


def read_checked(path: Path) -> bytes:
    """Return the bytes of the weights, hashed as read, so that nothing can change between check and use.

    Raises:
        MissingError: there is no such file.
        UsageError: there is one, and it is another file or cannot be read.
    """
    check_file(path)
    content = path.read_bytes()
    _require(hashlib.sha256(content).hexdigest(), path)
    return content


def _require(digest: str, path: Path) -> str:
    if digest != SHA256:
        raise UsageError(
            f"fidelity:weights={path}: not the {WHAT} (SHA-256 {digest[:8]}..., expected {SHA256[:8]}...); "
            f"replace it; the right file is {SOURCE}"
        )
    return digest


@lru_cache(maxsize=8)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    """Return the hash of a file; ``size`` and ``modified`` show whether the file changed."""
    return hash_file(path)


@dataclass(frozen=True)
class Fidelity(Metric):
    """Fréchet and kernel distance, precision, recall, density and coverage against the real training images.

    On the embedded extractor the distances are FD and KD and order generators within this project only. They
    are FID and KID, computed by torch-fidelity, only on its Inception network with weights whose hash is
    right; without them that extractor is an error and never something else. Precision, recall, density and
    coverage with k = 5 are the measures of Diffusion Inversion, Zhou et al. 2023, table 2.

    FID depends on how images are resized to Inception's 299 px: ``inception`` does it as torch-fidelity and the
    original TensorFlow code, ``inception-legacy`` as StudioGAN's ``legacy``, whose metrics the paper reports. The
    column names which. ``paper`` takes the latter, and compares all generated images with the whole training part.
    """

    extractor: str = param(
        "glyphcnn-v1",
        choices=("glyphcnn-v1", *INCEPTIONS),
        paper="inception-legacy",
        help="Network whose features are compared: the embedded one, or FID's Inception behind either resize.",
    )
    nearest_k: int = param(5, low=1, help="Neighbours that span a ball in precision, recall, density and coverage.")
    images: int = param(
        10_000,
        paper=0,
        low=0,
        stage="score",
        help="Most generated images that are scored, a seeded choice, as many for every row; 0 for all of each.",
    )
    reference_images: int = param(
        10_000,
        paper=0,
        low=0,
        stage="reference",
        help="Most real images that the generated ones are compared with, a seeded choice of the rest left out; "
        "0 for all.",
    )
    weights: str | None = param(
        None,
        help="Inception weights file; default $BENCH_INCEPTION_WEIGHTS, then torch-fidelity's own place.",
    )

    def __post_init__(self) -> None:
        if self.weights and self.extractor not in INCEPTIONS:
            raise ValueError("weights is for extractor=inception; the embedded extractor has its own")
        for name in ("images", "reference_images"):
            if 0 < getattr(self, name) <= self.nearest_k:
                raise ValueError(f"{name} must be 0 or more than nearest_k, which is {self.nearest_k}")

    def columns(self) -> Sequence[Column]:
        """Return the two distances, the Fréchet distance of real images to real ones, and the four shares."""
        return (
            Column("fd", heading(self.extractor), 4, "less"),
            Column("fd_real", "of real images", 4),
            Column("kd", kernel_heading(self.extractor), 6, "less"),
            *(Column(name, name, 4, "more") for name in ("precision", "recall", "density", "coverage")),
        )

    def compares_all(self) -> bool:
        """Return whether every generated image is compared."""
        return self.images == 0

    def least_images(self) -> int:
        """Return one more than the neighbours that span a ball."""
        return self.nearest_k + 1

    def needs(self) -> Requirements:
        """Return the embedded extractor, or torch-fidelity and its weights; a wrong file is a UsageError."""
        if self.extractor not in INCEPTIONS:
            return Requirements(foundations=("glyph-cnn",), memory_gib=1.0)
        path = weights_path(self.weights)
        if path.exists():
            check_file(path)
        files = (RequiredFile(path, WHAT, SOURCE),)
        return Requirements(packages=("torch_fidelity",), files=files, memory_gib=3.0, accelerator=True)

    def input_paths(self) -> tuple[Path, ...]:
        """Return the Inception weights, if they decide the result."""
        if self.extractor not in INCEPTIONS:
            return ()
        return (weights_path(self.weights),)

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float:
        """Estimate a step: the network goes through images one after the other, pairs of images take every core."""
        start, image, pair = (17.0, 0.7, 95e-9) if self.extractor in INCEPTIONS else (0.5, 0.0005, 20e-9)
        if self.extractor not in INCEPTIONS:
            image += 1.8e-8 * info.resolution**2  # resized first
        real = images if stage == "reference" else sum(info.class_counts)
        pool, known = (min(real, most or real) for most in (2 * self.reference_images, self.reference_images))
        if stage == "reference":
            return start + pool * image + known**2 / 2 * pair / cores()
        compared = min(images - real, self.images or images)
        return start + compared * image + (compared**2 / 2 + compared * known) * pair / cores()

    def reference(self, real: ImageSet, context: Context) -> None:
        """Write features, Gaussian, balls and kernel of the real images, of ``reference_images`` at most.

        Raises:
            BenchError: the set is too small, or its features are unusable.
            CorruptError: the embedded weights are not the pinned ones.
            MissingError: the Inception weights are not there.
            UsageError: the file with the Inception weights is another file.
        """
        from .reference import write

        write(self, real, context)

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Return ``fd, kd, precision, recall, density, coverage, extractor, n_score, n_reference``, and more.

        Every image given is compared, but for ``images`` and ``reference_images``, each of which leaves a line in
        ``warnings``. The other keys:
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

        if context.reference is None:
            raise BenchError("fidelity: score needs what reference wrote; give its folder as context.reference")
        return score(self, real, synthetic, context.reference, context)


@dataclass(frozen=True)
class Memorisation(Metric):
    """Share of generated images that are nearer to a real training image than real held-out images are.

    The distance is that of an image to the nearest training image, on the features of the network that ``fidelity``
    compares. Each training image is left out in turn and its distance to the others taken; the limit is the distance
    that 1 % of real images (``share``) stay below. A generated image below it, or an exact copy, counts. So 1 % is what
    images from the world that the training images are from would score, and ``memorised_real`` is what one half of the
    training images scores against the other. More says that the generator keeps near to its training images, which
    inversion is meant to do; whether it copies one, ``details.closest`` shows: the nearest pairs. A mirrored or cropped
    copy may be further away than the limit.
    """

    extractor: str = param(
        "glyphcnn-v1",
        choices=("glyphcnn-v1", *INCEPTIONS),
        paper="inception-legacy",
        help="Network whose features are compared, see fidelity.",
    )
    share: float = param(0.01, above=0, high=0.5, help="Share of real held-out images below the limit.")
    weights: str | None = param(None, help="Inception weights file, see fidelity.")

    def __post_init__(self) -> None:
        self._network()

    def _network(self) -> Fidelity:
        """Return the metric that has the same network."""
        return Fidelity(extractor=self.extractor, weights=self.weights)

    def columns(self) -> Sequence[Column]:
        """Return the share, that of real images, and how far away generated images are in units of real ones."""
        return (
            Column("memorised", f"memorised ({self.extractor})", 4, "less"),
            Column("memorised_real", "memorised, of real images", 4),
            Column("nearest_ratio", "distance / that of real images", 3),
        )

    def least_images(self) -> int:
        """Return how many images make two halves."""
        return 4

    def needs(self) -> Requirements:
        """Return what the network needs; a wrong file is a UsageError."""
        return self._network().needs()

    def input_paths(self) -> tuple[Path, ...]:
        """Return the Inception weights, if they decide the result."""
        return self._network().input_paths()

    def seconds(self, stage: str, images: int, info: DatasetInfo) -> float:
        """Estimate a step as ``fidelity`` does."""
        return self._network().seconds(stage, images, info)

    def reference(self, real: ImageSet, context: Context) -> None:
        """Write the features of the real images, all of them, and their distances; errors as ``fidelity``."""
        from .memorising import write

        write(self, self._network(), real, context)

    def score(self, real: ImageSet, synthetic: ImageSet, context: Context) -> Mapping[str, Any]:
        """Return ``memorised, memorised_real, memorised_expected, nearest_ratio``, what it was measured with, and more.

        Shares are in 0 to 1. ``nearest_ratio`` is the median distance of a generated image over that of a real image
        to the nearest other one, ``None`` where the latter is 0. ``details.closest`` lists the 20 nearest pairs as
        ``[generated image, real image, distance]``.

        Raises:
            BenchError: a set is too small, or its features are unusable.
            CorruptError, MissingError, UsageError: as ``fidelity``.
        """
        from .memorising import score

        if context.reference is None:
            raise BenchError("memorisation: score needs what reference wrote; give its folder as context.reference")
        return score(self, self._network(), synthetic, context.reference, context)
