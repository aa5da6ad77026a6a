"""The page of a generator's author."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .base import Plugin
from .context import Context
from .images import ImageSet

#: What a control is there to show: that further real images help, that the other half of all of them does (both
#: positive), and that repeating the images of the subset does not (negative).
CONTROLS = ("more-real", "half-real", "copies")


@dataclass(frozen=True)
class Generator(Plugin):
    """Makes labelled images out of a training subset. A costly first half goes into ``fit``.

    A generator never sees an image outside ``train``, unless it is a control that declares so. In a chain ``a+b`` the
    second link finds the first one's images in ``context.upstream``.
    """

    kind: ClassVar[str] = "generator"
    #: Whether ``fit`` has to run before ``sample``: a class that defines ``fit`` has one.
    has_fit: ClassVar[bool] = False
    #: The real training subset itself: the baseline row, whose count is not ``n_syn``.
    is_real: ClassVar[bool] = False
    #: Whether it works on the images of the link before it.
    needs_upstream: ClassVar[bool] = False
    #: Whether ``sample`` may yield fewer images than planned, at least one: a filter, a retrieval.
    may_yield_fewer: ClassVar[bool] = False
    #: Whether ``fit`` only runs networks forward, so that it computes in the precision of sampling.
    fit_is_forward_only: ClassVar[bool] = False
    #: Whether ``--test-transform`` may name it: a class that defines ``transform`` may.
    is_transform: ClassVar[bool] = False
    #: One of ``CONTROLS`` for what generates nothing: its rows show what the design can find, and are no result.
    control: ClassVar[str] = ""
    #: Whether ``sample`` is given the real training images outside the subset, as ``context.rest``; controls alone.
    reads_rest: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """Fill in what the methods of a class say of it.

        Raises:
            TypeError: ``control`` is no kind of control, or no control wants ``context.rest``.
        """
        super().__init_subclass__(**options)
        if cls.control not in ("", *CONTROLS):
            raise TypeError(f"{cls.__name__}.control is {cls.control!r}; it must be one of {', '.join(CONTROLS)}")
        if cls.reads_rest and not cls.control:
            raise TypeError(f"{cls.__name__}.reads_rest: only a control sees real images outside the subset")
        cls.has_fit = cls.fit is not Generator.fit
        cls.is_transform = cls.transform is not Generator.transform

    def output_count(self, train_count: int, asked: int | None, default: int) -> int:
        """Return how many images ``sample`` yields, at most that many with ``may_yield_fewer``.

        Args:
            train_count: real training images.
            asked: the user's ``--n-syn``, if given.
            default: the preset's multiple of the training images.
        """
        if self.is_real:
            return train_count
        return default if asked is None else asked

    def upstream_count(self, n_syn: int) -> int:
        """Return how many images the link before has to make so that this one can yield ``n_syn``."""
        return n_syn

    def shards(self, train_count: int) -> Sequence[range]:
        """Return the ranges of work items whose ``fit`` may run apart, in order; none where nothing is to be fitted.

        Items are the training images (with ``needs_upstream`` the images of the link before), or whatever else
        ``fit`` counts in, consecutive from 0.
        """
        return (range(train_count),)

    def fit(self, train: ImageSet, context: Context) -> None:
        """Learn from the items ``context.shard`` of ``train`` and write the result into ``context.folder``.

        Iterate over ``context.resume(items, ...)``, which continues after a kill. The bytes written must not depend
        on having been interrupted.
        """

    def sample(self, train: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``context.n_syn`` images in all, a bounded number at a time, in a fixed order.

        The folders that ``fit`` wrote are ``context.fitted``, one for each shard, in order. Iterate over
        ``context.chunks(total, size)`` so that a killed run continues after the last finished chunk. Images are
        uint8 ``(n, R, R, 3)`` at ``context.info.resolution``.
        """
        raise NotImplementedError

    def transform(self, images: ImageSet, context: Context) -> Iterator[ImageSet]:
        """Yield ``images`` transformed, one for one and in order, in sets of any size; optional."""
        raise NotImplementedError
