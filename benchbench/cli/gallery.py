"""``bench gallery``: what augmentations make of the images of a dataset, one picture each."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..errors import BenchError, UsageError
from ..files import safe_name
from ..machine import quiet_threads
from ..planning.options import make_request
from ..planning.spec import Spec, integer
from . import options as o
from .say import say

if TYPE_CHECKING:
    from ..pictures.gallery import Group
    from ..planning.resolved import ResolvedPlugin
    from ..plugins import Augmentation, DatasetInfo
    from ..plugins.images import ImageSet

#: Images per class that a classifier is trained on for an augmentation that grows the set, where the dataset names no
#: separate number.
SHOTS = 20


def gallery(
    data: Annotated[list[str] | None, o.option("data")] = None,
    aug: Annotated[
        list[str] | None,
        typer.Option("--aug", metavar="NAME,...", help="Augmentations; a+b applies both. [default: all]"),
    ] = None,
    count: Annotated[
        str, typer.Option("--count", metavar="N", help="Real images: rows of a picture, at most 200.")
    ] = "10",
    versions: Annotated[
        str, typer.Option("--versions", metavar="N", help="Augmented versions of each, at most 50.")
    ] = "8",
    seed: Annotated[
        str, typer.Option("--seed", metavar="N", help="Decides the images and how they are augmented.")
    ] = "0",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Pictures go to DIR/DATASET/AUGMENTATION.png.")
    ] = Path("results/figures/gallery"),
    preset: Annotated[str | None, o.option("preset")] = None,
    learner: Annotated[
        str | None,
        typer.Option("--learner", metavar="NAME[:...]", help="Trains for an augmentation that grows the set."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", metavar="NAME", help="What it trains. [default: its fastest]")
    ] = None,
) -> None:
    """Draw training images next to what augmentations make of them, at the size that classifiers see.

    What mixes images has its soft label below. An augmentation that grows the training set is shown by a short
    training (quick preset), and its picture says of what.
    """
    quiet_threads()
    sizes = integer(count, "--count", 1, 200), integer(versions, "--versions", 1, 50)
    number = integer(seed, "--seed", 0)
    given = {"data": data, "aug": aug or ["all"], "preset": preset, "learner": learner, "arch": arch}
    request = make_request({name: value for name, value in given.items() if value is not None})
    if arch is not None and len(request.arch) > 1:
        raise UsageError(f"--arch {arch}: must be one architecture, the one that trains for what grows the set")
    galleries = [_Gallery(spec, request, *sizes, number) for spec in request.data]
    _check_folder(out)
    for each, name in zip(galleries, _file_names(_without_folders(spec) for spec in request.data), strict=True):
        for path in each.draw(out / name):
            say(f"drew  {path}")


class _Chain(NamedTuple):
    text: str
    links: tuple[ResolvedPlugin, ...]


class _Gallery:
    """The pictures of one dataset; making it checks everything that can be checked without loading an image."""

    def __init__(self, data: Spec, request: Any, count: int, versions: int, seed: int) -> None:
        from ..planning.chains import aug_text, expand_augs

        self.preset: str = request.preset
        self.data = self._bind("dataset", data)
        self.info: DatasetInfo = self.data.plugin.info()
        resolved = [tuple(self._bind("augmentation", link) for link in chain) for chain in expand_augs(request.aug)]
        self.chains = [_Chain(aug_text(links), links) for links in resolved]
        self.count, self.versions, self.seed = count, versions, seed
        if any(_grows(link.plugin) for chain in self.chains for link in chain.links):
            self.learner, self.arch = self._trainer(request)

    def _bind(self, kind: str, spec: Spec, preset: str | None = None) -> ResolvedPlugin:
        from ..planning.resolved import check_needs, resolve, with_hashed_paths

        info = None if kind == "dataset" else self.info
        resolved = resolve(kind, spec, preset or self.preset, info)
        check_needs(resolved, "cpu", download=False)
        return with_hashed_paths(resolved) if kind == "augmentation" else resolved

    def _trainer(self, request: Any) -> tuple[ResolvedPlugin, str | None]:
        """Return what trains where a classifier is needed: the asked learner, its fastest architecture."""
        from ..planning.estimates import prior

        learner = self._bind("learner", request.learner[0], "quick")
        if "aug" not in learner.plugin.axes:
            raise UsageError(f"--learner {learner.text}: trains without augmentations, so that none can grow its set")
        if "arch" not in learner.plugin.axes:
            return learner, None
        names = learner.plugin.architectures(request.arch, self.info)
        return learner, min(names, key=lambda name: prior(learner, "train", 0, self.info, name) or float("inf"))

    def draw(self, folder: Path) -> Iterator[Path]:
        """Draw a picture for each chain; yields their paths."""
        from ..pictures.gallery import draw_gallery
        from ..running.work import describe_error

        shown, train = self._images()
        for chain, name in zip(self.chains, _file_names(chain.text for chain in self.chains), strict=True):
            try:
                title, groups = self._columns(chain, shown, train)
            except Exception as error:  # whatever an augmentation does
                raise BenchError(f"--aug {chain.text}: {describe_error(error)}") from error
            yield draw_gallery(
                [self.info.classes[label] for label in shown.labels], groups, title, folder / f"{name}.png"
            )

    def _images(self) -> tuple[ImageSet, ImageSet]:
        """Return the shown images, by class and at the size of classifiers, and those that are trained on."""
        import numpy as np

        from ..pictures.augmented import as_classified
        from ..planning.subsets import balanced_sample

        with tempfile.TemporaryDirectory() as folder:
            train = self.data.plugin.load("train", self._context(Path(folder)))
        chosen = balanced_sample(train.labels, min(self.count, len(train)), self.seed)
        chosen = chosen[np.argsort(train.labels[chosen], kind="stable")]
        shots = (self.info.quick_shots or SHOTS) * len(self.info.classes)
        trained = balanced_sample(train.labels, min(shots, len(train)), self.seed)
        return as_classified(train.subset(chosen), self.info), train.subset(trained)

    def _columns(self, chain: _Chain, shown: ImageSet, train: ImageSet) -> tuple[list[str], list[Group]]:
        """Return the title and the groups of columns of one picture."""
        from ..pictures.augmented import MAGNIFIED, augmented_group, grown_groups, real_group

        plugins = [link.plugin for link in chain.links]
        title = [
            f"{'+'.join(link.text for link in chain.links)} on {self.info.name}, {self.info.classify_resolution} px"
        ]
        groups = [real_group(shown), augmented_group(plugins, shown, self.info, self.versions, self.seed)]
        if any(_grows(plugin) for plugin in plugins):
            what = self.arch or self.learner.text
            say(f"[gallery] {chain.text}: training {what} on {len(train)} images", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                context = self._context(Path(folder))
                growth = grown_groups(self.learner.plugin, self.arch, plugins, train, shown, context)
            groups += growth.groups
            added = f"added while {what} trains for {growth.steps} steps on {len(train)} real images"
            if growth.groups:
                title.append(f"right: what is {added}; its change x{MAGNIFIED}")
            elif not growth.unpaired:
                title.append(f"nothing is {added}")
            if growth.unpaired:
                steps = ", ".join(str(step) for step in growth.unpaired)
                title.append(f"not shown before step {steps}: not all of these images grow there; lower --count")
        return title, groups

    def _context(self, folder: Path) -> Any:
        from ..plugins.context import Context

        (folder / "out").mkdir()
        return Context(self.seed, folder / "out", folder / "scratch", self.info, preset="quick")


def _grows(augmentation: Augmentation) -> bool:
    """Return whether an augmentation adds images to the training set, which takes a classifier in training."""
    return bool(augmentation.phases(1000))


def _without_folders(spec: Spec) -> str:
    """Return a dataset as the command line spells it, paths by their last part."""
    values = {name: Path(text).name if "/" in (text := str(value)) else text for name, value in spec.values.items()}
    return ",".join([spec.name, *(f"{name}={text}" for name, text in values.items())])


def _file_names(texts: Iterable[str]) -> list[str]:
    """Return a file name for each text; where two would share one, the later gets a number."""
    names: list[str] = []
    for text in texts:
        base = name = safe_name(text.replace(":", "-").replace(",", "-"), 80)
        number = 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        names.append(name)
    return names


def _check_folder(out: Path) -> None:
    """Refuse a place that cannot be written before anything is computed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written ({error.strerror}); give a folder") from None
