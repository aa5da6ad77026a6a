"""Regenerate the embedded foundation models from rendered glyphs.

  python -m benchbench_plugins.foundations.pretrain --part all --work WORK --out OUT --docs DOCS

Parts, with roughly the time each takes on one core of a current server at the shipped number of steps:

  corpus  draw 84 characters in 240 typefaces, 7 stroke fonts and a pen          1 minute
  vae     the autoencoder, 32x32x3 to 8x8x4                                      5 minutes
  sd      UNet and CLIP text encoder on its latents                             55 minutes
  cnn     the classifier whose features measure images of characters             5 minutes
  clip    the two towers that compare images with texts                         25 minutes
  pool    images to retrieve from, and their index by clip                        1 minute
  words   the language model that describes characters, from captions alone      2 minutes
  gan     the generator of digits and its discriminator                         55 minutes

`--part all` runs them all and writes a folder glyph-* of each model below OUT. WORK keeps the atlas,
checkpoints and loss logs: start the same command again and it goes on where it stopped, to the same bytes.
Every batch is a pure function of the seed and its number; no data set of images is read.

Needs the extra `benchbench[pretrain]` (with transformers 5) and, with --fonts debian, the font packages
that the error message names when they are missing. --fonts bundled makes do with matplotlib's
typefaces, stroke fonts and the pen: weaker models, for trying the code out.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .training import single_thread

if TYPE_CHECKING:
    from .corpus import Corpus

# The numbers of steps behind the shipped weights.
STEPS = {"vae": 800, "sd": 12480, "cnn": 2000, "clip": 6000, "words": 3000, "gan": 5200}


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    part: str
    work: Path
    out: Path
    docs: Path | None
    fonts: str
    seed: int
    steps: dict[str, int]
    preview: bool


def parse_options(arguments: list[str] | None = None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchbench_plugins.foundations.pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--part", choices=("all", "corpus", "vae", "sd", "cnn", "clip", "pool", "words", "gan"), default="all"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the atlas, checkpoints and loss logs")
    parser.add_argument("--out", type=Path, required=True, help="folder that receives glyph-sd, glyph-clip, ...")
    parser.add_argument("--docs", type=Path, help="folder for loss curves, sample grids and the list of typefaces")
    parser.add_argument("--fonts", choices=("debian", "bundled"), default="debian")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--preview",
        action="store_true",
        help="do not train: write the model and its pictures from the checkpoint that is there",
    )
    for part, steps in STEPS.items():
        parser.add_argument(f"--{part}-steps", type=int, default=steps, help=f"training steps of {part} (%(default)s)")
    a = parser.parse_args(arguments)
    chosen = {part: int(getattr(a, f"{part}_steps")) for part in STEPS}
    if (low := min(chosen.values())) < 1:
        parser.error(f"--*-steps: {low}: must be at least 1")
    return Options(a.part, a.work, a.out, a.docs, a.fonts, a.seed, chosen, a.preview)


def report(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)  # noqa: T201


def run(options: Options) -> None:
    """Run the parts that `options` names."""
    if options.part in ("all", "words"):
        _run_words(options)
    if options.part == "words":
        return  # it needs no typefaces
    from .atlas import build_atlas
    from .corpus import Corpus
    from .pictures import save_grid

    atlas = build_atlas(options.work, options.fonts, options.seed, report)
    corpus = Corpus(atlas, options.seed)
    if options.docs:
        options.docs.mkdir(parents=True, exist_ok=True)
        shutil.copy(options.work / "corpus_manifest.json", options.docs)
        save_grid(corpus.batch(0, 192).images, 16, options.docs / "corpus.png")
    if options.part in ("all", "vae", "sd"):
        _run_diffusion(options, corpus)
    if options.part in ("all", "cnn"):
        _run_classifier(options, corpus)
    if options.part in ("all", "clip"):
        _run_clip(options, corpus)
    if options.part in ("all", "pool"):
        _run_pool(options, corpus)
    if options.part in ("all", "gan"):
        _run_gan(options, corpus)


def _document_losses(options: Options, part: str, title: str) -> None:
    """Copy the loss log of `part` to the documentation and draw it."""
    from .pictures import save_curve

    if options.docs:
        shutil.copy(options.work / f"{part}_loss.csv", options.docs)
        save_curve(options.docs / f"{part}_loss.csv", options.docs / f"{part}_loss.png", title)


def _run_diffusion(options: Options, corpus: "Corpus") -> None:
    import torch

    from .diffusion import restore_average, train_denoiser
    from .export import build_pipeline, save_pipeline
    from .pictures import sample_grid, save_grid
    from .tokens import build_tokenizer
    from .vae import train_vae

    vae = train_vae(corpus, options.work, options.steps["vae"], options.seed, report)
    if options.docs:
        images = corpus.batch(1_000_001, 512).images[:48]
        with torch.no_grad():
            restored = vae.decode(vae.encode(images).latent_dist.mode()).sample
        pairs = torch.stack([images.view(3, 16, 3, 32, 32), restored.view(3, 16, 3, 32, 32)], 1).flatten(0, 2)
        save_grid(pairs, 16, options.docs / "vae_pairs.png")
        _document_losses(options, "vae", "autoencoder")
    if options.part == "vae":
        return
    tokenizer = build_tokenizer()
    if options.preview:
        model = restore_average(tokenizer, options.work)
    else:
        model = train_denoiser(corpus, vae, tokenizer, options.work, options.steps["sd"], options.seed, report)
    save_pipeline(vae, model, options.out / "glyph-sd")
    report(f"wrote {options.out / 'glyph-sd'}")
    if options.docs:
        sample_grid(build_pipeline(vae, model, tokenizer), options.docs / "sd_samples.png", 2.0, options.seed)
        _document_losses(options, "sd", "diffusion (v-prediction)")


def _run_classifier(options: Options, corpus: "Corpus") -> None:
    from .classifier import save_classifier, train_classifier

    steps = options.steps["cnn"]
    model, accuracy = train_classifier(corpus, options.work, steps, options.seed, report)
    save_classifier(model, options.out / "glyph-cnn", accuracy, steps, options.seed)
    report(f"wrote {options.out / 'glyph-cnn'}")
    _document_losses(options, "cnn", "character classifier")


def _run_clip(options: Options, corpus: "Corpus") -> None:
    from .contrastive import accuracies, held_out_confusion, restore_average, train_clip
    from .contrastive_export import document_clip, save_clip
    from .tokens import build_tokenizer

    tokenizer = build_tokenizer()
    if options.preview:
        model = restore_average(tokenizer, options.work)
    else:
        model = train_clip(corpus, tokenizer, options.work, options.steps["clip"], options.seed, report)
    save_clip(model, options.out / "glyph-clip")
    confusion = held_out_confusion(model, tokenizer, corpus)
    report(f"wrote {options.out / 'glyph-clip'}; held-out characters named rightly: {accuracies(confusion)}")
    if options.docs:
        document_clip(model, tokenizer, corpus, confusion, options.docs)
        _document_losses(options, "clip", "contrastive")


def _run_pool(options: Options, corpus: "Corpus") -> None:
    from .pool import document_pool, write_pool

    write_pool(corpus, options.out / "glyph-clip", options.out / "glyph-pool", report)
    report(f"wrote {options.out / 'glyph-pool'}")
    if options.docs:
        document_pool(corpus, options.docs)


def _run_gan(options: Options, corpus: "Corpus") -> None:
    from .gan import restore_gan, train_gan
    from .gan_export import document_gan, finished, recognised, save_gan

    steps = options.steps["gan"]
    if options.preview:
        average = restore_gan(options.work)
    else:
        average = train_gan(corpus, options.work, steps, options.seed, report)
    model = finished(average, options.seed)
    save_gan(model, options.out / "glyph-biggan", steps, options.seed)
    report(f"wrote {options.out / 'glyph-biggan'}")
    if (options.out / "glyph-cnn").is_dir():
        of_all, of_digits = recognised(model, options.out / "glyph-cnn", options.seed)
        report(f"gan: glyph-cnn reads {of_all:.1%} as their digit among all characters, {of_digits:.1%} among digits")
    if options.docs:
        document_gan(model, options.docs / "gan_samples.png", options.seed)
        _document_losses(options, "gan", "discriminator of the digits (hinge)")
        _document_losses(options, "gan_g", "generator of the digits (hinge)")


def _run_words(options: Options) -> None:
    from .words import document_words, save_words, train_words

    options.work.mkdir(parents=True, exist_ok=True)
    model = train_words(options.work, options.steps["words"], options.seed, report)
    save_words(model, options.out / "glyph-words")
    report(f"wrote {options.out / 'glyph-words'}")
    if options.docs:
        options.docs.mkdir(parents=True, exist_ok=True)
        report(f"words: {document_words(options.out / 'glyph-words', options.docs)}")
        _document_losses(options, "words", "words (cross-entropy)")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 when this machine lacks typefaces."""
    options = parse_options(arguments)
    single_thread()
    from .typefaces import MissingFontsError

    try:
        run(options)
    except MissingFontsError as error:
        print(f"pretrain: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
