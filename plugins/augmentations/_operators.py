"""The operators of AutoAugment, RandAugment and AugMix, each on a batch with one magnitude per image.

The colour operators take uint8 ``(n, 3, H, W)`` and return a new tensor of the same shape, dtype and device.
Definitions, and rounding to uint8 where a definition leaves it open, are those that torchvision's transforms have on
tensors: tests hold every operator to them.

Magnitudes are float64 ``(n,)`` on the host, with the meaning given at each operator.

Shear, translation and rotation make one affine map per image; :func:`resample` takes all of them in one call of
``grid_sample``. Coordinates are those of torchvision's transforms on tensors: the origin is the middle of the image,
shears keep its upper left corner, positive angles turn counter-clockwise, and what comes from outside is 0. Even the
order of the float32 operations is kept, because a nearest neighbour depends on it where a source lies half-way between
two pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

#: Weights of red, green and blue in the grey value (ITU-R BT.601).
GREY = (0.2989, 0.587, 0.114)


def brightness(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Blend with black; ``1 + magnitude`` is the factor, at least 0."""
    keep, _ = _blend_weights(images, magnitudes)
    return _to_uint8(keep * images)


def color(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Blend with the image in grey; ``1 + magnitude`` is the factor, at least 0."""
    return _blend(images, _grey(images), magnitudes)


def contrast(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Blend with the mean grey value of the image; ``1 + magnitude`` is the factor, at least 0."""
    return _blend(images, _grey(images).mean((1, 2, 3), keepdim=True), magnitudes)


def sharpness(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Blend with a smoothed image; ``1 + magnitude`` is the factor, at least 0.

    The filter has weight 5 in its centre and 1 at the eight neighbours; the outermost pixels are not smoothed. Images
    of 1 or 2 px have no inner pixel and stay as they are.
    """
    if min(images.shape[-2:]) <= 2:
        return images.clone()
    smooth = images.float()
    inner = smooth[..., 1:-1, 1:-1]
    rows = smooth[..., :-2] + smooth[..., 1:-1] + smooth[..., 2:]
    total = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :] + 4 * inner
    # Thirteenths are never half-way between two integers, so rounding is safe in float32.
    inner.copy_((total / 13).round_())
    return _blend(images, smooth, magnitudes)


def posterize(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Keep the highest bits of each value; the magnitude is their number, 0 to 8."""
    bits = magnitudes.astype(np.int64)
    return images & _per_image((256 - (1 << (8 - bits))).astype(np.uint8), images)


def solarize(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Invert the values that reach a threshold; the magnitude is the threshold, 0 to 255."""
    threshold = _per_image(np.ceil(magnitudes).astype(np.uint8), images)
    reached = (images >= threshold).to(torch.uint8)
    return images ^ reached.neg_()  # -1 is 255 in uint8, and v ^ 255 is 255 - v; faster than torch.where


def autocontrast(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Stretch each channel to 0..255; a channel of one value stays as it is. The magnitude has no meaning."""
    low = images.amin((2, 3), keepdim=True).float()
    high = images.amax((2, 3), keepdim=True).float()
    flat = low == high
    scale = torch.where(flat, 1.0, 255.0 / (high - low))
    return _to_uint8((images - low.masked_fill(flat, 0.0)).mul_(scale))


def equalize(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Level each channel's histogram; the magnitude has no meaning.

    The lookup table is Pillow's: with ``step`` = (pixels below the largest value) // 255, a value ``v`` becomes
    (pixels below ``v`` + step // 2) // step. A channel with step 0 stays as it is.
    """
    count, channels, height, width = images.shape
    values = images.reshape(count * channels, height * width).long()
    offsets = 256 * torch.arange(len(values), device=images.device)[:, None]
    histogram = torch.bincount((values + offsets).view(-1), minlength=256 * len(values)).view(-1, 256)
    largest = histogram.gather(1, values.amax(1, keepdim=True))
    step = (height * width - largest) // 255
    below = histogram.cumsum(1) - histogram
    identity = torch.arange(256, device=images.device)
    table = (below + step // 2) // step.clamp(min=1)
    table = torch.where(step == 0, identity, table.clamp_(0, 255))
    return table.to(torch.uint8).gather(1, values).view_as(images)


def invert(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Return ``255 - v`` for each value ``v``; the magnitude has no meaning."""
    return ~images


def _blend(images: torch.Tensor, other: torch.Tensor, magnitudes: NDArray[np.float64]) -> torch.Tensor:
    """Return ``f * images + (1 - f) * other`` with ``f = 1 + magnitude``, clipped and cut to integers."""
    keep, rest = _blend_weights(images, magnitudes)
    return _to_uint8((keep * images).add_(rest * other))


def _blend_weights(images: torch.Tensor, magnitudes: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``f`` and ``1 - f`` as float32 ``(n, 1, 1, 1)``, both rounded from float64."""
    factor = 1.0 + magnitudes
    return _per_image(factor.astype(np.float32), images), _per_image((1.0 - factor).astype(np.float32), images)


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Return the grey value, cut to an integer, as float32 ``(n, 1, H, W)``."""
    red, green, blue = images.unbind(1)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue).floor_().unsqueeze_(1)


def _to_uint8(values: torch.Tensor) -> torch.Tensor:
    """Clip float values to 0..255 and drop their fractions."""
    return values.clamp_(0, 255).to(torch.uint8)


def _per_image(values: NDArray, images: torch.Tensor) -> torch.Tensor:
    """Return one value per image as ``(n, 1, 1, 1)`` on the images' device."""
    return torch.from_numpy(values).to(images.device).view(-1, 1, 1, 1)


def resample(images: torch.Tensor, matrices: NDArray[np.float64], interpolation: str) -> torch.Tensor:
    """Return each image seen through its affine map.

    Args:
        images: uint8 ``(n, C, H, W)``.
        matrices: ``(n, 2, 3)``, from a pixel of the result to its source, in px from the middle of the image.
        interpolation: ``"nearest"`` or ``"bilinear"``; the latter fades into 0 at the border and rounds to integers.
    """
    count, _, height, width = images.shape
    device = images.device
    pixels = torch.ones(height, width, 3, device=device)
    pixels[..., 0] = torch.linspace(-width * 0.5 + 0.5, width * 0.5 - 0.5, width, device=device)
    pixels[..., 1] = torch.linspace(-height * 0.5 + 0.5, height * 0.5 - 0.5, height, device=device)[:, None]
    half = torch.tensor([0.5 * width, 0.5 * height], device=device)
    maps = torch.from_numpy(matrices.astype(np.float32)).to(device).transpose(1, 2) / half
    grid = pixels.view(1, height * width, 3).expand(count, -1, -1).bmm(maps).view(count, height, width, 2)
    sampled = torch.nn.functional.grid_sample(
        images.float(), grid, mode=interpolation, padding_mode="zeros", align_corners=False
    )
    return sampled.round_().to(torch.uint8)


def identities(count: int) -> NDArray[np.float64]:
    """Return ``count`` maps that change nothing, ``(count, 2, 3)``."""
    return np.broadcast_to(np.eye(2, 3), (count, 2, 3)).copy()


def shear_x(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move each row sideways by ``magnitude`` px per px of its distance from the upper edge."""
    maps, slope = identities(len(magnitudes)), _slopes(magnitudes)
    maps[:, 0, 1] = slope
    maps[:, 0, 2] = (width / 2 + slope * (height / 2)) - width / 2
    return maps


def shear_y(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move each column up or down by ``magnitude`` px per px of its distance from the left edge."""
    maps, slope = identities(len(magnitudes)), _slopes(magnitudes)
    maps[:, 1, 0] = slope
    maps[:, 1, 2] = (slope * (width / 2) + height / 2) - height / 2
    return maps


def translate_x(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move to the right by the magnitude in px, its fraction dropped."""
    maps = identities(len(magnitudes))
    maps[:, 0, 2] = -np.trunc(magnitudes)
    return maps


def translate_y(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Move down by the magnitude in px, its fraction dropped."""
    maps = identities(len(magnitudes))
    maps[:, 1, 2] = -np.trunc(magnitudes)
    return maps


def rotate(magnitudes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Turn about the middle by the magnitude in degrees, counter-clockwise."""
    maps, angle = identities(len(magnitudes)), np.radians(-magnitudes)
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angle)
    maps[:, 0, 1] = np.sin(angle)
    maps[:, 1, 0] = -np.sin(angle)
    return maps


def _slopes(magnitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slopes as the tangents of angles that went through degrees, which is where torchvision rounds."""
    return np.tan(np.radians(np.degrees(np.arctan(magnitudes))))
