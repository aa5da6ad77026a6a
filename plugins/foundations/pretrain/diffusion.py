"""The text-to-image model: a UNet and a CLIP text encoder trained together on latents, by v-prediction.

With epsilon prediction most of the loss of such small latents lies at low noise, while the form of a
character is decided at high noise; v-prediction weighs them so that prompts are followed.
"""

import copy
import random
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .corpus import Corpus, derived_seed
from .tokens import BOS, EOS, MAX_TOKENS
from .training import LossLog, Report, load_checkpoint, save_checkpoint

BATCH = 32
_CHUNK = 512
_LR, _WARM, _DECAY_SHARE = 1e-3, 200, 0.23
_CAPTION_DROP = 0.1
_EMA = 0.999
BETAS: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


class Denoiser(nn.Module):
    """UNet and text encoder as one module: one optimizer, one average, one checkpoint."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=256,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=MAX_TOKENS,
                projection_dim=64,
                bos_token_id=tokenizer.convert_tokens_to_ids(BOS),
                eos_token_id=tokenizer.convert_tokens_to_ids(EOS),
                pad_token_id=tokenizer.convert_tokens_to_ids(EOS),
                # Embeddings of 0.02 would take thousands of steps to grow apart.
                initializer_factor=5.0,
            )
        )
        self.unet = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(64, 96),
            layers_per_block=1,
            cross_attention_dim=64,
            attention_head_dim=32,
            norm_num_groups=16,
            down_block_types=("SimpleCrossAttnDownBlock2D",) * 2,
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D",) * 2,
        )

    def forward(self, latents: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict v for latents `(N, 4, 8, 8)`, timesteps `(N,)` and token ids `(N, 20)`."""
        return self.unet(latents, timesteps, self.text(tokens).last_hidden_state).sample


def learning_rate(step: int, steps: int) -> float:
    """Warm up, stay, then fall linearly over the last 23 %.

    Until the fall begins the rate does not depend on `steps`, so that a run on a slower machine may be
    shortened while it lasts and is still exactly the run that the shorter number gives from the start.
    """
    falling = max(1, round(steps * _DECAY_SHARE))
    return _LR * min(1.0, (step + 1) / _WARM, max(0.01, (steps - step) / falling))


class _Feed:
    """Latents, captions, noise and timesteps of step i, a pure function of (corpus, seed, i)."""

    def __init__(self, corpus: Corpus, vae: AutoencoderKL, tokenizer: CLIPTokenizer, seed: int) -> None:
        self._corpus, self._vae, self._tokenizer, self._seed = corpus, vae, tokenizer, seed
        self._chunk = -1
        self._latents, self._captions = torch.empty(0), list[str]()

    @torch.no_grad()
    def _load(self, chunk: int) -> None:
        batch = self._corpus.batch(chunk, _CHUNK)
        g = torch.Generator().manual_seed(derived_seed(self._seed, "encode", chunk))
        self._latents = self._vae.encode(batch.images).latent_dist.sample(generator=g)
        self._captions, self._chunk = batch.captions, chunk

    def step(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return latents, noise, timesteps and token ids."""
        chunk, place = divmod(step * BATCH, _CHUNK)
        if chunk != self._chunk:
            self._load(chunk)
        latents = self._latents[place : place + BATCH]
        seed = derived_seed(self._seed, "step", step)
        g, rng = torch.Generator().manual_seed(seed), random.Random(seed)
        noise = torch.randn(latents.shape, generator=g)
        # Stratified: one timestep in each of 32 equal intervals, in random order; the loss is far less noisy.
        timesteps = (torch.arange(BATCH) + torch.rand(BATCH, generator=g)) * (1000 / BATCH)
        timesteps = timesteps.long()[torch.randperm(BATCH, generator=g)]
        texts = ["" if rng.random() < _CAPTION_DROP else text for text in self._captions[place : place + BATCH]]
        ids = self._tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
        return latents, noise, timesteps, ids["input_ids"]


def train_denoiser(
    corpus: Corpus,
    vae: AutoencoderKL,
    tokenizer: CLIPTokenizer,
    folder: Path,
    steps: int,
    seed: int,
    report: Report,
    checkpoint_seconds: float = 180.0,
) -> Denoiser:
    """Train for `steps` batches of 32 and return the averaged weights.

    A run that was stopped goes on from `folder/sd.pt` to the same bits.
    """
    torch.manual_seed(seed)
    model = Denoiser(tokenizer).to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LR, weight_decay=1e-3, fused=True)
    checkpoint, start = folder / "sd.pt", 0
    if state := load_checkpoint(checkpoint):
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    schedule = DDPMScheduler(**BETAS, prediction_type="v_prediction")
    feed = _Feed(corpus, vae.eval().requires_grad_(False), tokenizer, seed)
    log = LossLog(folder / "sd_loss.csv", steps, report, start)
    saved = log.seconds
    for step in range(start, steps):
        optimizer.param_groups[0]["lr"] = learning_rate(step, steps)
        latents, noise, timesteps, tokens = feed.step(step)
        noisy = schedule.add_noise(latents, noise, timesteps).to(memory_format=torch.channels_last)
        target = schedule.get_velocity(latents, noise, timesteps)
        loss = nn.functional.mse_loss(model(noisy, timesteps, tokens), target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        _follow(average, model, min(_EMA, (1 + step) / (10 + step)))
        log.add(step + 1, loss.item())
        if log.seconds - saved >= checkpoint_seconds or step + 1 == steps:
            saved = log.seconds
            save_checkpoint(
                checkpoint,
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                },
            )
    return average.eval()


def restore_average(tokenizer: CLIPTokenizer, folder: Path) -> Denoiser:
    """Return the averaged weights of the checkpoint in `folder`, to look at a training that still runs.

    Raises:
        FileNotFoundError: when there is no checkpoint yet.

    """
    state = load_checkpoint(folder / "sd.pt")
    if state is None:
        raise FileNotFoundError(f"{folder / 'sd.pt'}: no checkpoint yet")
    model = Denoiser(tokenizer)
    model.load_state_dict(state["average"])
    return model.eval()


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
