"""BigGAN: random latents, or the latents of real images by GAN inversion."""

from .plugin import BigGAN

__all__ = ["BigGAN"]
