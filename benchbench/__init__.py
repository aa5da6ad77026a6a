"""benchbench: does generated data improve my image classifier, on my data, with my architecture, and at what cost?

``benchbench.run(gen="diffinv", data="digits")`` returns records, ``benchbench.load_results()`` a pandas frame; a
plugin author imports the kinds from here: ``from benchbench import Generator, ImageSet, Context, param``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import BenchError as BenchError
    from .errors import MissingError as MissingError
    from .errors import UsageError as UsageError
    from .plugins import Augmentation as Augmentation
    from .plugins import Context as Context
    from .plugins import Dataset as Dataset
    from .plugins import DatasetInfo as DatasetInfo
    from .plugins import Executor as Executor
    from .plugins import Foundation as Foundation
    from .plugins import Generator as Generator
    from .plugins import Images as Images
    from .plugins import ImageSet as ImageSet
    from .plugins import Learner as Learner
    from .plugins import Metric as Metric
    from .plugins import RequiredFile as RequiredFile
    from .plugins import Requirements as Requirements
    from .plugins import Running as Running
    from .plugins import Task as Task
    from .plugins import TrainResult as TrainResult
    from .plugins import param as param
    from .reporting.report import Report as Report
    from .results.answers import Answers as Answers
    from .results.answers import load_answers as load_answers
    from .results.record import Record as Record
    from .results.rows import csv_text as csv_text
    from .results.rows import load_results as load_results
    from .results.table import Table as Table
    from .results.table import build_table as build_table
    from .running.run import run as run
    from .running.work import run_step as run_step

_NAMES = {
    "errors": ("BenchError", "MissingError", "UsageError"),
    "plugins": (
        *("Augmentation", "Dataset", "DatasetInfo", "Executor", "Foundation", "Generator", "Images", "ImageSet"),
        *("Learner", "Metric", "RequiredFile", "Requirements", "Running", "Task", "TrainResult", "Context", "param"),
    ),
    "reporting.report": ("Report",),
    "results.answers": ("Answers", "load_answers"),
    "results.record": ("Record",),
    "results.rows": ("csv_text", "load_results"),
    "results.table": ("Table", "build_table"),
    "running.run": ("run",),
    "running.work": ("run_step",),
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = ["__version__", *sorted(_PLACES)]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``bench --help`` pays for none of them."""
    if name == "__version__":
        from importlib.metadata import version

        return version("benchbench")
    if name not in _PLACES:
        from .errors import missing_name

        raise missing_name(__name__, name)
    from importlib import import_module

    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
