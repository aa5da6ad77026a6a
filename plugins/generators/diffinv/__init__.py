"""The ``diffinv`` generator: parameters, presets and what depends on the dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from benchbench.models.generators import DiffusionGenerator
from benchbench.plugins import Context, DatasetInfo, ImageSet, Requirements, param
from benchbench.plugins.images import batches

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class DiffusionInversion(DiffusionGenerator):
    """Diffusion Inversion (Zhou et al. 2023): learn a conditioning for each real image, sample around it.

    Stage 1 (``fit``) learns ``num_tokens`` vectors per training image against a frozen text-to-image model,
    by the denoising loss alone. Stage 2 (``sample``) perturbs them, interpolates towards another image of the
    class, and samples under classifier-free guidance. Labels are those of the source images.

    Guidance follows the diffusers convention, eps_u + g (eps_c - eps_u) with g = ``guidance_scale``. The
    paper writes (1 + w) eps_c - w eps_u, so its w is g - 1: the authors' "strength 2" is g = 2, w = 1.

    A checkpoint counts visits per image. The paper's 1K, 2K and 3K steps are visits too: with groups of 100
    and batches of 50 they are 2,000, 4,000 and 6,000 optimiser steps.

    ``optimizer=dense-adamw`` is the authors' optimiser, one AdamW over all rows of a group, which also moves
    the rows outside a mini-batch, by momentum and weight decay; ``per-image`` gives each image an Adam of its
    own, so that an embedding depends on its image alone. The two are not equivalent. Groups are consecutive
    training images. For MedMNIST and EuroSAT the authors make groups of one class, so that their unconditional
    input is a class mean; that is ``unconditional=class-mean``. They draw five partners anew for each pair of
    guidance scale and checkpoint, within the group; here five partners of the whole class meet every pair.

    Presets: ``paper`` has the published values. ``quick`` fits the embedded model on a CPU: a larger learning
    rate from the tokens of a prompt instead of random ones, stratified timesteps, few visits, and
    DPM-Solver++ in place of PNDM.
    """

    registered: ClassVar[str] = "diffinv"

    num_tokens: int = param(5, low=1, help="Learned vectors per image, K.")
    learning_rate: float = param(0.1, above=0, paper=0.03, help="Constant learning rate of stage 1.")
    weight_decay: float = param(1e-2, low=0, help="Decoupled weight decay of stage 1, per optimiser step.")
    checkpoints: tuple[int, ...] = param(
        (600,),
        low=1,
        paper=(1000, 2000, 3000),
        help="Visits per image at which embeddings are kept, ascending; the last one ends stage 1.",
    )
    optimizer: str = param(
        "per-image",
        choices=("per-image", "dense-adamw"),
        paper="dense-adamw",
        help="Optimiser of stage 1: one Adam per image, or the authors' AdamW over whole groups.",
    )
    group_size: int | None = param(
        None,
        low=1,
        help="Images per group of dense-adamw, and the scale of initial=uniform; "
        "none is 500 for datasets up to 28 px, 1000 up to 32 px, else 100.",
    )
    batch_size: int | None = param(
        None,
        low=1,
        help="Images per optimiser step; none is 50, under dense-adamw 100 up to 28 px, 500 up to 32 px.",
    )
    loss_weighting: str = param(
        "none",
        choices=("none", "velocity", "min-snr"),
        help="Weight of each timestep's loss; none is the paper's, velocity helps epsilon models.",
    )
    timestep_sampling: str = param(
        "stratified",
        choices=("uniform", "stratified"),
        paper="uniform",
        help="Timesteps of an image: independent, or one in each of 50 equal parts per 50 visits.",
    )
    initial: str = param(
        "prompt",
        choices=("uniform", "prompt"),
        paper="uniform",
        help="Initial embeddings: U(-1, 1) / sqrt(group_size), or the encoded initial_prompt.",
    )
    initial_prompt: str = param("a photo of", help="The prompt of initial=prompt, cut to num_tokens.")
    guidance_scale: tuple[float, ...] = param(
        (2.0,),
        low=0,
        stage="sample",
        paper=(2.0, 3.0, 4.0),
        help="Guidance scales g to mix, in the diffusers convention; the paper's w is g - 1.",
    )
    mixed_checkpoints: tuple[int, ...] | None = param(
        None, low=1, stage="sample", help="Checkpoints to sample from, mixed; none is all of them."
    )
    num_inference_steps: int = param(12, low=1, high=1000, stage="sample", paper=100, help="Sampling steps per image.")
    scheduler: str = param(
        "DPMSolverMultistepScheduler",
        stage="sample",
        paper="PNDMScheduler",
        help="Class name of a diffusers scheduler.",
    )
    noise_strength: float = param(
        0.1, low=0, stage="sample", help="Standard deviation lambda of the noise added to an embedding."
    )
    interpolation_strength: float = param(
        0.1,
        low=0,
        high=1,
        stage="sample",
        help="Share a of another image of the class in an embedding; an image alone in its class has none.",
    )
    unconditional: str = param(
        "mean",
        choices=("mean", "class-mean", "empty-prompt"),
        stage="sample",
        help="Unconditional input: mean of all learned vectors, of those of the class, or the empty prompt.",
    )
    sample_batch: int = param(
        50, low=1, affects_result=False, help="Images sampled at once, at most 50; changes speed and memory alone."
    )
    shard_size: int | None = param(
        None, low=1, affects_result=False, help="Images per fit step; none is 25, or more to keep to 64 steps."
    )

    def __post_init__(self) -> None:
        if sorted(set(self.checkpoints)) != list(self.checkpoints):
            raise ValueError("checkpoints: must ascend")
        unknown = [item for item in self.mixed_checkpoints or () if item not in self.checkpoints]
        if unknown:
            kept = "/".join(map(str, self.checkpoints))
            raise ValueError(f"mixed_checkpoints={unknown[0]}: must be among the checkpoints, {kept}")

    def needs(self) -> Requirements:
        """Return the foundation, and at 128 px or more that a CPU would take days.

        Raises:
            UsageError: ``scheduler`` is no diffusers scheduler that can sample here.
        """
        from benchbench.models.diffusion.layout import check_scheduler

        check_scheduler(self.scheduler, self.registered)
        return super().needs()

    def resolve(self, info: DatasetInfo) -> Self:
        """Fill in the model, the resolution, and the sizes of groups and batches.

        The authors' groups and batches are 100 and 50 for STL10, Imagenette and EuroSAT, 1000 and 500 for
        CIFAR, 500 and 100 for MedMNIST; the dataset's own resolution tells them apart.

        Raises:
            UsageError: ``model`` is on this machine and cannot be inverted, or not at this resolution.
        """
        group, batch = (500, 100) if info.resolution <= 28 else (1000, 500) if info.resolution <= 32 else (100, 50)
        return replace(
            super().resolve(info),
            group_size=self.group_size or group,
            batch_size=self.batch_size or (batch if self.optimizer == "dense-adamw" else 50),
            mixed_checkpoints=self.mixed_checkpoints or self.checkpoints,
        )

    def reads_text(self) -> bool:
        """Return whether a prompt is encoded: to begin with, or as the unconditional input."""
        return self.initial == "prompt" or self.unconditional == "empty-prompt"

    def shards(self, train_count: int) -> Sequence[range]:
        """Return ranges of ``shard_size`` images; under ``dense-adamw`` whole groups."""
        size = self.shard_size or max(25, -(-train_count // 64))
        if self.optimizer == "dense-adamw":
            group = self.group_size or 1
            size = -(-size // group) * group
        return tuple(batches(train_count, size))

    def fit(self, train: ImageSet, context: Context) -> None:
        """Stage 1: learn the embeddings of ``context.shard`` and write them per checkpoint."""
        from .inversion import invert

        invert(train, context, self.resolve(context.info))

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Stage 2: yield ``context.n_syn`` variants, spread evenly over the training images."""
        from .sampling import sample_variants

        yield from sample_variants(train, context, self.resolve(context.info))
