"""The embedded models never saw the digits they are judged on, and their training can be repeated."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import benchbench_plugins.foundations.pretrain as package
from benchbench_plugins.foundations.pretrain import diffusion
from benchbench_plugins.foundations.pretrain.atlas import Atlas, build_atlas
from benchbench_plugins.foundations.pretrain.captions import CHARACTERS, STYLES
from benchbench_plugins.foundations.pretrain.corpus import Corpus
from benchbench_plugins.foundations.pretrain.export import save_pipeline
from benchbench_plugins.foundations.pretrain.tokens import MAX_TOKENS, build_tokenizer
from benchbench_plugins.foundations.pretrain.vae import build_vae, standardize

SOURCE = Path(package.__file__).parent
# Root mean square difference of pixels in [0, 1]. The two most alike digits of the data set are .041 apart.
NEAR_DUPLICATE = 0.03


def quiet(_line: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def atlas(work) -> Atlas:
    return build_atlas(work, "bundled", 0, quiet)


@pytest.fixture(scope="module")
def corpus(atlas) -> Corpus:
    return Corpus(atlas, 0)


def imported_modules(path: Path) -> set[str]:
    """Absolute names that a file of the package imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def test_pretraining_imports_neither_sklearn_nor_any_dataset():
    names = set().union(*(imported_modules(path) for path in SOURCE.glob("*.py")))
    assert "torch" in names, "the test looks at the wrong files"
    # Of the rest of the plugins it may read what it trains, the loader that judges it, and the builder of indexes.
    outside = {name for name in names if name.startswith("..") or name.startswith("benchbench")}
    assert outside == {
        "..glyph_cnn_model",
        "...generators.biggan.network",
        "...generators.lecf.candidates",
        "...generators.knn.pools.build",
    }
    assert not {name for name in names if name.split(".")[0] in ("sklearn", "datasets", "torchvision")}


@pytest.mark.slow
def test_whole_run_completes_when_sklearn_cannot_be_imported(work, atlas, tmp_path):
    script = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from benchbench_plugins.foundations.pretrain import gan_export, pool\n"
        "from functools import partial\n"
        "gan_export.finished = partial(gan_export.finished, batches=1)\n"  # fewer, as of the images of the pool
        "pool.write_pool = partial(pool.write_pool, count=600)\n"
        "from benchbench_plugins.foundations.pretrain.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "assert not [name for name in sys.modules if name.startswith('sklearn.')]\n"
        "sys.exit(code)\n"
    )
    steps = ["--vae-steps", "2", "--sd-steps", "2", "--cnn-steps", "4", "--clip-steps", "2", "--words-steps", "2"]
    steps += ["--gan-steps", "2"]
    done = subprocess.run(
        [sys.executable, "-c", script, "--work", work, "--out", tmp_path, "--fonts", "bundled", *steps],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "glyph-sd" / "model_index.json").exists()
    assert json.loads((tmp_path / "glyph-cnn" / "config.json").read_text())["id"] == "glyphcnn-v1"
    total = sum(path.stat().st_size for path in (tmp_path / "glyph-sd").rglob("*") if path.is_file())
    assert total < 6_000_000
    written = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert written == {"glyph-sd", "glyph-cnn", "glyph-clip", "glyph-pool", "glyph-words", "glyph-biggan"}


def test_the_text_encoder_has_the_names_that_both_versions_of_transformers_read():
    from safetensors import safe_open

    shipped = SOURCE.parent / "data" / "glyph-sd" / "text_encoder" / "model.safetensors"
    with safe_open(shipped, "pt") as file:
        assert all(name.startswith("text_model.") for name in file.keys())


def digits8() -> torch.Tensor:
    from sklearn.datasets import load_digits

    return torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16


def upscaled(digits: torch.Tensor) -> torch.Tensor:
    return F.interpolate(digits, size=32, mode="bicubic").clamp(0, 1)


def nearest(images: torch.Tensor, digits: torch.Tensor) -> float:
    """The smallest root mean square difference of an image to a digit, at 32x32 and at 8x8 pixels."""
    fine = torch.cdist(images.flatten(1), upscaled(digits).flatten(1)) / 32
    coarse = torch.cdist(F.interpolate(images, size=8, mode="area").flatten(1), digits.flatten(1)) / 8
    return float(torch.minimum(fine.min(), coarse.min()))


def test_corpus_holds_no_copy_of_a_digit(corpus):
    images = torch.cat([corpus.batch(i, 512).images[:, :1] for i in range(10)]) / 2 + 0.5
    digits = digits8()
    assert len(digits) == 1797
    assert nearest(images, digits) > NEAR_DUPLICATE


@pytest.mark.parametrize("index", [0, 700, 1796])
def test_planted_digit_is_found(corpus, index):
    images = corpus.batch(0, 512).images[:, :1] / 2 + 0.5
    digits = digits8()
    noise = 0.01 * torch.randn(32, 32, generator=torch.Generator().manual_seed(index))
    images[17, 0] = (upscaled(digits[index : index + 1])[0, 0] + noise).clamp(0, 1)
    assert nearest(images, digits) < NEAR_DUPLICATE


def test_batch_is_a_pure_function_of_seed_and_index(atlas, corpus):
    corpus.batch(3, 64)
    first, again = corpus.batch(5, 64), Corpus(atlas, 0).batch(5, 64)
    assert torch.equal(first.images, again.images)
    assert first.captions == again.captions
    assert not torch.equal(first.images, corpus.batch(6, 64).images)
    assert not torch.equal(first.images, Corpus(atlas, 1).batch(5, 64).images)
    assert first.images.shape == (64, 3, 32, 32)
    assert first.images.dtype == torch.float32
    assert first.images.min() >= -1
    assert first.images.max() <= 1


def test_captions_name_the_character_and_only_known_styles(corpus):
    batch = corpus.batch(0, 2048)
    for char, text in zip(batch.chars.tolist(), batch.captions, strict=True):
        head, *styles = text.split(", ")
        name = CHARACTERS[char].name
        assert head.endswith(name) or head == name.removeprefix("digit ")
        assert set(styles) <= set(STYLES)
    counts = np.bincount(batch.chars.numpy(), minlength=len(CHARACTERS))
    assert counts[:10].mean() > 2 * counts[10:62].mean(), "digits are three times as frequent as letters"


def test_light_backgrounds_are_captioned_as_such(corpus):
    batch = corpus.batch(0, 1024)
    border = batch.images[:, 0, :2].mean((1, 2))
    said = torch.tensor(["light background" in text for text in batch.captions])
    assert border[said].mean() > 0.4
    assert border[~said].mean() < -0.6


def test_every_word_of_a_caption_is_one_token(corpus):
    tokenizer = build_tokenizer()
    for text in corpus.batch(1, 256).captions:
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text.replace(",", " ,").split()) + 2 <= MAX_TOKENS


def test_resumed_training_gives_the_same_bits(corpus, tmp_path, monkeypatch):
    torch.manual_seed(0)
    vae, tokenizer = build_vae().eval(), build_tokenizer()

    def train(name: str) -> dict[str, torch.Tensor]:
        (tmp_path / name).mkdir(exist_ok=True)
        args = (corpus, vae, tokenizer, tmp_path / name, 4, 0, quiet)
        return diffusion.train_denoiser(*args, checkpoint_seconds=0.0).state_dict()

    whole = train("whole")
    rate = diffusion.learning_rate
    with monkeypatch.context() as patch:
        patch.setattr(diffusion, "learning_rate", lambda step, steps: rate(step, steps) if step < 2 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train("resumed")
    resumed = train("resumed")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_rate_before_the_fall_does_not_depend_on_the_number_of_steps():
    assert [diffusion.learning_rate(i, 1000) for i in range(600)] == [
        diffusion.learning_rate(i, 5000) for i in range(600)
    ]
    assert diffusion.learning_rate(999, 1000) < 0.02 * diffusion.learning_rate(500, 1000)


def test_standardized_latents_are_centred_and_images_unchanged(corpus):
    torch.manual_seed(0)
    vae = build_vae().eval()
    images = corpus.batch(0, 128).images
    with torch.no_grad():
        before = vae.decode(vae.encode(images).latent_dist.mode()).sample
        standardize(vae, images)
        posterior = vae.encode(images).latent_dist
        assert torch.allclose(vae.decode(posterior.mode()).sample, before, atol=1e-3)
        latents = posterior.sample()
    assert latents.mean((0, 2, 3)).abs().max() < 0.1
    assert (latents.std((0, 2, 3)) - 1).abs().max() < 0.1


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("saved") / "glyph-sd"
    save_pipeline(build_vae(), diffusion.Denoiser(build_tokenizer()), path)
    return path


def test_saved_folder_opens_as_a_stable_diffusion_pipeline(folder):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    g = torch.Generator().manual_seed(0)
    kwargs = {"num_inference_steps": 2, "output_type": "np", "guidance_scale": 2.0, "generator": g}
    assert pipeline("a photo of the digit seven", **kwargs).images.shape == (1, 32, 32, 3)
    embeds = torch.zeros(2, 5, 64)
    images = pipeline(prompt_embeds=embeds, negative_prompt_embeds=embeds, **kwargs).images
    assert images.shape == (2, 32, 32, 3)
    words = "a photo of the capital letter q, slanted left"
    assert pipeline.tokenizer(words)["input_ids"] == build_tokenizer()(words)["input_ids"]
    assert "".join(path.read_text() for path in folder.rglob("*.json")).count(str(folder.parent)) == 0


@pytest.mark.parametrize("name", ["DDIMScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler", "DDPMScheduler"])
def test_other_schedulers_build_from_the_saved_one(folder, name):
    import diffusers

    saved = diffusers.PNDMScheduler.from_pretrained(folder / "scheduler")
    scheduler = getattr(diffusers, name).from_config(saved.config)
    assert scheduler.config.prediction_type == "v_prediction"
    assert scheduler.config.beta_schedule == "scaled_linear"
    assert not scheduler.config.get("clip_sample", False)


def test_missing_typefaces_are_named_in_one_line(tmp_path, monkeypatch, capsys):
    from benchbench_plugins.foundations.pretrain import __main__, typefaces

    monkeypatch.setattr(typefaces.shutil, "which", lambda name: name)
    monkeypatch.setattr(typefaces, "_package_files", lambda package: [])
    code = __main__.main(["--part", "corpus", "--work", str(tmp_path), "--out", str(tmp_path)])
    assert code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "fonts-dkg-handwriting" in message
