"""Regenerate the embedded foundation models from rendered glyphs.

  python -m benchbench_plugins.foundations.pretrain --part all --work WORK --out OUT --docs DOCS

Parts, with roughly the time each takes on one core of a current server at the shipped number of steps:

  corpus  draw 84 characters in 240 typefaces, 7 stroke fonts and a pen          1 minute
  vae     the autoencoder, 32x32x3 to 8x8x4                                      5 minutes
  sd      UNet and CLIP text encoder on its latents                             55 minutes
  cnn     the classifier whose features measure images of characters             5 minutes

`--part all` runs them in this order and writes OUT/glyph-sd and OUT/glyph-cnn. WORK keeps the atlas,
checkpoints and loss logs: start the same command again and it goes on where it stopped, to the same bytes.
Every batch is a pure function of the seed and its number; no data set of images is read.

Needs the extra `benchbench[pretrain]` and, with --fonts debian, the font packages that the error message
names when they are missing. --fonts bundled makes do with matplotlib's typefaces, stroke fonts and the pen:
weaker models, for trying the code out.
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
STEPS = {"vae": 800, "sd": 12480, "cnn": 2000}


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
    parser.add_argument("--part", choices=("all", "corpus", "vae", "sd", "cnn"), default="all")
    parser.add_argument("--work", type=Path, required=True, help="folder for the atlas, checkpoints and loss logs")
    parser.add_argument("--out", type=Path, required=True, help="folder that receives glyph-sd and glyph-cnn")
    parser.add_argument("--docs", type=Path, help="folder for loss curves, sample grids and the list of typefaces")
    parser.add_argument("--fonts", choices=("debian", "bundled"), default="debian")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--preview",
        action="store_true",
        help="do not train: write glyph-sd and its pictures from the checkpoint that is there",
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
