"""glyph-biggan: a class-conditional generator of the corpus's ten digits (Brock et al. 2019, at a small width)."""

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...generators.biggan.network import (
    BigGANConfig,
    BigGANGenerator,
    ConditionalNorm,
    SNConv2d,
    SNLinear,
    SpectralNorm,
)
from .captions import CHARACTERS
from .corpus import Corpus, derived_seed
from .gan_discriminator import Discriminator
from .training import LossLog, Report, load_checkpoint, save_checkpoint

CLASSES = tuple("0123456789")
CONFIG = BigGANConfig(n_classes=10, G_ch=8, dim_z=48, bottom_width=4, multipliers=(12, 8, 6, 3))
BATCH, _CHUNK, _FIRST = 64, 640, 5_000_000
_LR_G, _LR_D, _EMA = 3e-4, 8e-4, 0.999


class _Feed:
    """Real digits and latents; what a step is given depends on its number alone."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        wanted = [i for i, c in enumerate(CHARACTERS) if c.name.startswith("digit ")]
        self._corpus, self._seed, self._chunk = corpus.restricted(wanted), seed, -1

    def _load(self, chunk: int) -> None:
        batch = self._corpus.batch(_FIRST + chunk, _CHUNK)
        # Ink on light paper (8 %) is left out: a network this small would spend a good part of itself on it.
        border = torch.cat([batch.images[:, 0, 0], batch.images[:, 0, -1]], 1).median(1).values
        keep = (border < 0).nonzero()[:, 0]
        self._images, self._labels, self._chunk = batch.images[keep], batch.chars[keep], chunk

    def real(self, step: int) -> tuple[Tensor, Tensor]:
        """Return `BATCH` images in [-1, 1] and their digits."""
        chunk, place = divmod(step * BATCH, _CHUNK - 2 * BATCH)
        if chunk != self._chunk:
            self._load(chunk)
        rows = torch.arange(place, place + BATCH) % len(self._images)
        return self._images[rows], self._labels[rows]

    def latents(self, step: int) -> list[tuple[Tensor, Tensor]]:
        """Return latents and classes for the discriminator's turn and for the generator's."""
        g = torch.Generator().manual_seed(derived_seed(self._seed, "gan", step))
        return [
            (torch.randn(BATCH, CONFIG.dim_z, generator=g), torch.randint(len(CLASSES), (BATCH,), generator=g))
            for _ in range(2)
        ]


def _initialise(model: nn.Module) -> None:
    """Start from orthogonal weights; the three colours start equal and, since D sees their mean, stay so."""
    for module in model.modules():
        if isinstance(module, SpectralNorm):
            assert isinstance(module, nn.Module)
            nn.init.orthogonal_(module.weight)
        if isinstance(module, SNConv2d | SNLinear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, ConditionalNorm):
            nn.init.zeros_(module.gain.weight)
            nn.init.zeros_(module.bias.weight)
    if isinstance(model, BigGANGenerator):
        last = model.output_layer[2]
        assert isinstance(last, SNConv2d)
        with torch.no_grad():
            last.weight.copy_(last.weight[:1].expand_as(last.weight))
            last.u0.fill_(1.0)


def learning_rate_factor(step: int, steps: int) -> float:
    """Return 1, falling linearly to 0.05 over the last 40 %."""
    return min(1.0, 0.05 + 0.95 * (1 - step / steps) / 0.4)


class _Game:
    """Both networks, their optimisers and the averaged generator."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.g, self.d = BigGANGenerator(CONFIG), Discriminator(len(CLASSES))
        _initialise(self.g)
        _initialise(self.d)
        self.g.to(memory_format=torch.channels_last)
        self.d.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.g).requires_grad_(False)
        self.opt_g = torch.optim.Adam(self.g.parameters(), _LR_G, betas=(0.0, 0.999), eps=1e-6, fused=True)
        self.opt_d = torch.optim.Adam(self.d.parameters(), _LR_D, betas=(0.0, 0.999), eps=1e-6, fused=True)
        self.parts: dict[str, Any] = {
            "g": self.g,
            "d": self.d,
            "average": self.average,
            "opt_g": self.opt_g,
            "opt_d": self.opt_d,
        }

    def step(self, feed: _Feed, step: int, factor: float) -> tuple[float, float]:
        """Let D learn from a batch, then G; return both hinge losses."""
        self.opt_g.param_groups[0]["lr"], self.opt_d.param_groups[0]["lr"] = _LR_G * factor, _LR_D * factor
        (images, labels), ((z_d, y_d), (z_g, y_g)) = feed.real(step), feed.latents(step)
        with torch.no_grad():
            fakes = self.g(z_d, y_d)
        real, fake = self.d(torch.cat([images, fakes]), torch.cat([labels, y_d])).split(BATCH)
        loss_d = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self.opt_d.zero_grad()
        loss_d.backward()
        self.opt_d.step()
        self.d.requires_grad_(False)
        loss_g = -self.d(self.g(z_g, y_g), y_g).mean()
        self.opt_g.zero_grad()
        loss_g.backward()
        self.opt_g.step()
        self.d.requires_grad_(True)
        decay = min(_EMA, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.g.parameters()), 1 - decay)
        return loss_d.item(), loss_g.item()


def train_gan(
    corpus: Corpus, folder: Path, steps: int, seed: int, report: Report, checkpoint_seconds: float = 120.0
) -> BigGANGenerator:
    """Train for `steps` pairs of batches of 64 and return the averaged generator, see `gan_export.finished`.

    A run that was stopped goes on from `folder/gan.pt` to the same bits.
    """
    game, checkpoint, start = _Game(seed), folder / "gan.pt", 0
    if state := load_checkpoint(checkpoint):
        for name, part in game.parts.items():
            part.load_state_dict(state[name])
        start = state["step"]
    feed = _Feed(corpus, seed)
    log_d = LossLog(folder / "gan_loss.csv", steps, report, start)
    log_g = LossLog(folder / "gan_g_loss.csv", steps, lambda _: None, start)
    saved = log_d.seconds
    for step in range(start, steps):
        loss_d, loss_g = game.step(feed, step, learning_rate_factor(step, steps))
        log_d.add(step + 1, loss_d)
        log_g.add(step + 1, loss_g)
        if log_d.seconds - saved >= checkpoint_seconds or step + 1 == steps:
            saved = log_d.seconds
            save_checkpoint(checkpoint, {k: p.state_dict() for k, p in game.parts.items()} | {"step": step + 1})
    return game.average


def restore_gan(folder: Path) -> BigGANGenerator:
    """Return the averaged generator of the checkpoint in `folder`, to look at a training that still runs.

    Raises:
        FileNotFoundError: when there is no checkpoint yet.

    """
    state = load_checkpoint(folder / "gan.pt")
    if state is None:
        raise FileNotFoundError(f"{folder / 'gan.pt'}: no checkpoint yet")
    model = BigGANGenerator(CONFIG)
    model.load_state_dict(state["average"])
    return model
