"""glyph-clip: a CLIP (Radford et al. 2021) whose two towers learn from the corpus which caption fits which image.

With 84 characters a batch holds many images of the same one, so a caption such as "a photo of the digit
seven" fits all its sevens. The targets say so, as UniCL's do (Yang et al. 2022); the loss is MIL-NCE
(Miech et al. 2020, eq. 1), in both directions.
"""

import copy
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from .captions import CHARACTERS, TEMPLATES
from .corpus import IMAGE_SIZE, Batch, Corpus, derived_seed
from .tokens import BOS, EOS, MAX_TOKENS
from .training import LossLog, Report, load_checkpoint, save_checkpoint

BATCH = 192
PROJECTION = 64
#: The numbers of the corpus's batches that training draws, and those that it never sees.
FIRST_CHUNK, HELD_OUT_CHUNK = 4_000_000, 4_900_000
_CHUNK = 4 * BATCH
_LR, _WARM, _DECAY_SHARE = 2e-3, 300, 0.4
_PLAIN_SHARE, _PERIOD_SHARE = 0.5, 0.5
_EMA = 0.998
# 1 / 0.07, where CLIP starts (Radford et al. 2021, section 2.5), and the 100 that it never passes.
_LOGIT_SCALE, _MOST_LOGIT_SCALE = 2.6592, 4.6052


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Build the two towers; the initial weights come from torch's global generator."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=PROJECTION,
        bos_token_id=tokenizer.convert_tokens_to_ids(BOS),
        eos_token_id=tokenizer.convert_tokens_to_ids(EOS),
        pad_token_id=tokenizer.convert_tokens_to_ids(EOS),
        # Embeddings of 0.02 would take thousands of steps to grow apart.
        initializer_factor=5.0,
    )
    vision = CLIPVisionConfig(
        image_size=IMAGE_SIZE,
        patch_size=8,
        hidden_size=96,
        intermediate_size=352,
        num_hidden_layers=3,
        num_attention_heads=3,
        projection_dim=PROJECTION,
    )
    return CLIPModel(
        CLIPConfig(
            text_config=text.to_dict(),
            vision_config=vision.to_dict(),
            projection_dim=PROJECTION,
            logit_scale_init_value=_LOGIT_SCALE,
        )
    )


def learning_rate(step: int, steps: int) -> float:
    """Warm up, stay, then fall linearly; until the fall begins the rate does not depend on `steps`."""
    falling = max(1, round(steps * _DECAY_SHARE))
    return _LR * min(1.0, (step + 1) / _WARM, max(0.01, (steps - step) / falling))


def plain_text(char: int, rng: random.Random) -> str:
    """Name character `char` (an index into CHARACTERS) and nothing else."""
    return rng.choice(TEMPLATES).format(CHARACTERS[char].name)


class Feed:
    """Images, characters and captions of step i, a pure function of (corpus, seed, i)."""

    def __init__(self, corpus: Corpus, seed: int) -> None:
        self._corpus, self._seed = corpus, seed
        self._chunk, self._batch = -1, Batch(torch.empty(0), torch.empty(0), [])

    def step(self, step: int) -> Batch:
        """Return the batch of `step`: half of its captions only name the character, half end in a period."""
        chunk, place = divmod(step * BATCH, _CHUNK)
        if chunk != self._chunk:
            self._batch, self._chunk = self._corpus.batch(FIRST_CHUNK + chunk, _CHUNK), chunk
        rows = slice(place, place + BATCH)
        chars = self._batch.chars[rows]
        rng = random.Random(derived_seed(self._seed, "clip", step))
        captions = []
        for char, text in zip(chars.tolist(), self._batch.captions[rows], strict=True):
            chosen = plain_text(char, rng) if rng.random() < _PLAIN_SHARE else text
            captions.append(chosen + "." if rng.random() < _PERIOD_SHARE else chosen)
        return Batch(self._batch.images[rows], chars, captions)


def positives(chars: Tensor, captions: list[str]) -> Tensor:
    """Return which caption (column) fits which image (row), bool `(N, N)`.

    A caption that only names the character fits every image of it. One that also describes the style fits
    its own image and those that have the same caption.
    """
    same_char = chars[:, None] == chars[None]
    texts = [caption.removesuffix(".") for caption in captions]
    plain = torch.tensor(["," not in text for text in texts])
    number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    ids = torch.tensor([number[text] for text in texts])
    return same_char & (plain[None] | (ids[:, None] == ids[None]))


def contrastive_loss(logits: Tensor, fits: Tensor) -> Tensor:
    """Return the mean of both directions' loss: `-log` of the probability that falls on any positive.

    Args:
        logits: float `(N, N)`, scaled cosines of images (rows) and captions (columns).
        fits: bool `(N, N)`; at least the diagonal is true. With the diagonal alone this is CLIP's loss.

    """
    kept = logits.masked_fill(~fits, float("-inf"))
    rows = logits.logsumexp(1) - kept.logsumexp(1)
    columns = logits.logsumexp(0) - kept.logsumexp(0)
    return (rows.mean() + columns.mean()) / 2


def tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Return token ids `(N, 20)`, padded with EOS and cut so that EOS stays."""
    ids = tokenizer(texts, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return ids["input_ids"]


def embed_images(model: CLIPModel, images: Tensor) -> Tensor:
    """Return unit rows `(N, 64)` for images in [-1, 1]."""
    return F.normalize(model.visual_projection(model.vision_model(pixel_values=images).pooler_output), dim=-1)


def embed_texts(model: CLIPModel, ids: Tensor) -> Tensor:
    """Return unit rows `(N, 64)` for token ids `(N, 20)`."""
    return F.normalize(model.text_projection(model.text_model(input_ids=ids).pooler_output), dim=-1)


def train_clip(
    corpus: Corpus,
    tokenizer: CLIPTokenizer,
    folder: Path,
    steps: int,
    seed: int,
    report: Report,
    checkpoint_seconds: float = 120.0,
) -> CLIPModel:
    """Train for `steps` batches of 192 and return the averaged weights.

    A run that was stopped goes on from `folder/clip.pt` to the same bits.
    """
    torch.manual_seed(seed)
    model = build_model(tokenizer)
    average = copy.deepcopy(model).requires_grad_(False)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    groups = [
        {"params": decayed, "weight_decay": 0.05},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=_LR, betas=(0.9, 0.98), fused=True)
    checkpoint, start = folder / "clip.pt", 0
    if state := load_checkpoint(checkpoint):
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    feed = Feed(corpus, seed)
    log = LossLog(folder / "clip_loss.csv", steps, report, start)
    saved = log.seconds
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        batch = feed.step(step)
        cosines = embed_images(model, batch.images) @ embed_texts(model, tokens(tokenizer, batch.captions)).T
        loss = contrastive_loss(model.logit_scale.exp() * cosines, positives(batch.chars, batch.captions))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=_MOST_LOGIT_SCALE)
            decay = min(_EMA, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        log.add(step + 1, loss.item())
        if log.seconds - saved >= checkpoint_seconds or step + 1 == steps:
            saved = log.seconds
            state = {"model": model.state_dict(), "average": average.state_dict()}
            save_checkpoint(checkpoint, {**state, "optimizer": optimizer.state_dict(), "step": step + 1})
    return average.eval()


def restore_average(tokenizer: CLIPTokenizer, folder: Path) -> CLIPModel:
    """Return the averaged weights of the checkpoint in `folder`, to look at a training that still runs.

    Raises:
        FileNotFoundError: when there is no checkpoint yet.

    """
    state = load_checkpoint(folder / "clip.pt")
    if state is None:
        raise FileNotFoundError(f"{folder / 'clip.pt'}: no checkpoint yet")
    model = build_model(tokenizer)
    model.load_state_dict(state["average"])
    return model.eval()


@torch.no_grad()
def held_out_confusion(model: CLIPModel, tokenizer: CLIPTokenizer, corpus: Corpus) -> Tensor:
    """Return counts `(84, 84)`: characters of 2,048 images that training never drew, and what zero-shot says.

    Zero-shot chooses among "a photo of the {name}." of all 84 characters.
    """
    texts = embed_texts(model, tokens(tokenizer, [f"a photo of the {c.name}." for c in CHARACTERS]))
    counts = torch.zeros(len(CHARACTERS), len(CHARACTERS), dtype=torch.int64)
    for i in range(4):
        batch = corpus.batch(HELD_OUT_CHUNK + i, 512)
        said = (embed_images(model, batch.images) @ texts.T).argmax(1)
        counts.index_put_((batch.chars, said), torch.ones_like(said), accumulate=True)
    return counts


def accuracies(confusion: Tensor) -> dict[str, float]:
    """Return the shares of all characters and of the digits that zero-shot names rightly among 84 names."""
    digits = confusion[:10]
    return {
        "all": round(float(confusion.diag().sum() / confusion.sum()), 4),
        "digits": round(float(digits.diag().sum() / digits.sum()), 4),
    }
