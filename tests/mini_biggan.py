"""BigGAN generators for tests: randomly initialised, saved in the formats that the loader opens."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from datasetinfos import dataset_info
from safetensors.torch import save_file

from benchbench.plugins.images import ImageSet
from benchbench_plugins.generators.biggan.network import BigGANConfig, BigGANGenerator, SpectralNorm

MINI = BigGANConfig(n_classes=2, G_ch=4, dim_z=8, bottom_width=4, multipliers=(4, 3, 2))
INFO = dataset_info(("a", "b"), class_counts=(3, 3), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), flip_keeps_class=False)


def random_biggan(config: BigGANConfig = MINI, seed: int = 0) -> BigGANGenerator:
    """A generator whose classes and statistics matter: nothing is left at 0 or 1."""
    g = torch.Generator().manual_seed(seed)
    model = BigGANGenerator(config)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.randn(value.shape, generator=g)
            if name.endswith("stored_var"):
                value.copy_(0.5 + noise.abs())
            elif name.endswith(("gain", "sv0")):
                value.copy_(1 + 0.3 * noise)
            elif name.endswith("u0"):
                value.copy_(noise)
            else:
                value.copy_(0.5 * noise)
        for module in model.modules():
            if isinstance(module, SpectralNorm):
                module.train()
                for _ in range(5):
                    module.normalised()
    return model.eval().requires_grad_(False)


def write_folder(model: BigGANGenerator, folder: Path, classes: tuple[str, ...]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    config = {"architecture": "BigGANGenerator", **asdict(model.config), "classes": list(classes)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def toy_train(count: int = 6, side: int = 16, seed: int = 3) -> ImageSet:
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(count, dtype=np.int64) * 2 // count, ("a", "b"))
