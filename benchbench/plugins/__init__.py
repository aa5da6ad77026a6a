"""The page a plugin author reads: what each kind of plugin is, what it is given and what it promises.

A plugin is a frozen dataclass. Its fields, declared with :func:`param`, are its command-line options, its help and
its cache key at once. It has no registry call, no global and no path; heavy imports (torch, diffusers)
live inside its methods, so that ``bench list`` and ``bench plan`` stay fast::

    @dataclass(frozen=True)
    class Brighter(Generator):
        \"\"\"Every real image, brighter. Labels are kept.\"\"\"

        factor: float = param(1.3, low=0.0, help="Multiplies pixel values.")

        def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
            bright = np.clip(train.images * self.factor, 0, 255).astype(np.uint8)
            yield train.with_images(bright)

Publish it under the entry-point group ``benchbench.generators``, or run it from a file: ``--gen ./brighter.py``.
"""

from __future__ import annotations

from typing import NoReturn

from ..errors import missing_name
from .augmentation import Augmentation, ImageChange
from .base import Plugin, RequiredFile, Requirements
from .context import Context
from .dataset import Dataset, DatasetInfo
from .executor import Executor, Running
from .foundation import Foundation
from .generator import Generator
from .images import Images, ImageSet
from .learner import Learner, Task, TrainResult
from .metric import Column, Metric
from .parameters import param

__all__ = [
    "Augmentation",
    "Column",
    "Context",
    "Dataset",
    "DatasetInfo",
    "Executor",
    "Foundation",
    "Generator",
    "ImageChange",
    "ImageSet",
    "Images",
    "Learner",
    "Metric",
    "Plugin",
    "RequiredFile",
    "Requirements",
    "Running",
    "Task",
    "TrainResult",
    "param",
]


def __getattr__(name: str) -> NoReturn:
    raise missing_name(__name__, name)
