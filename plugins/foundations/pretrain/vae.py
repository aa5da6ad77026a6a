"""The autoencoder: 32x32x3 images to 8x8x4 latents, centred and of unit variance."""

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from .corpus import Corpus
from .training import LossLog, Report

_BATCH, _CHUNK, _LR = 48, 480, 2e-3
_KL_WEIGHT = 1e-3


def build_vae() -> AutoencoderKL:
    """Return the untrained autoencoder, 0.4 million parameters."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 48),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def train_vae(corpus: Corpus, folder: Path, steps: int, seed: int, report: Report) -> AutoencoderKL:
    """Train for `steps` batches of 48, or read the finished autoencoder from `folder`."""
    done = folder / "vae"
    if done.exists():
        return AutoencoderKL.from_pretrained(done)
    torch.manual_seed(seed)
    vae = build_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=_LR, weight_decay=1e-4, fused=True)
    log = LossLog(folder / "vae_loss.csv", steps, report)
    per_chunk = _CHUNK // _BATCH
    for step in range(steps):
        if step % per_chunk == 0:
            images = corpus.batch(step // per_chunk, _CHUNK).images
        x = images[step % per_chunk * _BATCH :][:_BATCH]
        warm = min(1.0, (step + 1) / 100)
        optimizer.param_groups[0]["lr"] = _LR * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        loss = _loss(vae, x)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        log.add(step + 1, loss.item())
    vae.eval()
    standardize(vae, corpus.batch(1_000_000, 1024).images)
    report(f"vae: PSNR {psnr(vae, corpus.batch(1_000_001, 512).images):.2f} dB on held-out glyphs")
    vae.save_pretrained(done)
    return vae


def _loss(vae: AutoencoderKL, x: Tensor) -> Tensor:
    posterior = vae.encode(x).latent_dist
    error = vae.decode(posterior.sample()).sample - x
    # Both norms: L1 for crisp edges, MSE for the rare large error. The KL term is per latent number.
    return error.abs().mean() + error.square().mean() + _KL_WEIGHT * posterior.kl().mean() / 256


@torch.no_grad()
def standardize(vae: AutoencoderKL, images: Tensor) -> None:
    """Fold an affine map into the quant convolutions, so that latents of `images` are standardized.

    Stable Diffusion's format has a single scaling factor and no shift; diffusion needs every channel centred.
    """
    latents = vae.encode(images).latent_dist.sample()
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    quant, post = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    post.bias += (post.weight * mean[None, :, None, None]).sum((1, 2, 3))
    post.weight *= deviation[None, :, None, None]
    quant.weight[:channels] /= deviation[:, None, None, None]
    quant.bias[:channels] = (quant.bias[:channels] - mean) / deviation
    quant.bias[channels:] -= 2 * deviation.log()


@torch.no_grad()
def psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Return the mean peak signal-to-noise ratio of reconstructions, in dB, for images in [-1, 1]."""
    restored = vae.decode(vae.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
    mse = ((restored - images) / 2).square().mean((1, 2, 3)).clamp_min(1e-8)
    return float((-10 * mse.log10()).mean())
