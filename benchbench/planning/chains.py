"""Chains of augmentations as they are trained: ``all`` written out, and the base in front of what stands on it.

And chains of generators: how many images each link makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from ..errors import UsageError
from ..plugins.catalog import Entry, catalog, load
from .options import read_suite
from .resolved import ResolvedPlugin
from .spec import Spec, chain_text

Chain = tuple[Spec, ...]
#: Stands for every augmentation that ships with the harness, as ``all`` does for architectures.
ALL = "all"


def expand_augs(chains: Iterable[Chain]) -> tuple[Chain, ...]:
    """Return the chains that ``--aug`` names, each once and in order.

    ``all`` becomes every augmentation that ships with the harness, the base first. A chain without a base link gets
    the installed base in front: ``mixup`` is trained as crop and flip, then mixup.

    Raises:
        UsageError: ``all`` with values or inside a chain.
    """
    expanded: dict[str, Chain] = {}
    for chain in chains:
        for each in _alone(chain):
            whole = _with_base(each)
            expanded.setdefault(chain_text(whole), whole)
    return tuple(expanded.values())


def aug_text(chain: Sequence[ResolvedPlugin]) -> str:
    """Return a chain as tables show it: a base with its usual values is understood where something stands on it."""
    shown = list(chain)
    if len(shown) > 1 and shown[0].plugin.is_base and shown[0].text == shown[0].place:
        shown = shown[1:]
    return "+".join(link.text for link in shown) or "-"


def counts_of(
    chain: tuple[ResolvedPlugin, ...], train_count: int, rest: int, asked: int | None, default: int
) -> list[int]:
    """Return how many images each link of a chain makes, at most: what the last one is asked for decides.

    Args:
        chain: the links.
        train_count: real training images.
        rest: real images beside these, the most that a link makes which takes its images from them.
        asked: the user's number of images, ``None`` for ``default``.
        default: the preset's.

    Raises:
        UsageError: a link takes its images from real ones beside these, and there are none.
    """
    wanted: list[tuple[int | None, int]] = []
    for link in reversed(chain):
        wanted.insert(0, (asked, default))
        asked = None if asked is None else link.plugin.upstream_count(asked)
        default = link.plugin.upstream_count(default)
    counts: list[int] = []
    for link, (count, usual) in zip(chain, wanted, strict=True):
        count = link.plugin.output_count(train_count, count, usual)
        if link.plugin.reads_rest:
            if not rest:
                raise UsageError(f"{link.name}: all real images are in use; give --shots or --n-real")
            count = min(count, rest)
        if counts and link.plugin.may_yield_fewer:
            count = min(count, counts[-1])  # a filter has no more than it is given
        counts.append(count)
    return counts


def transforms_hint() -> str:
    """Return which generators can transform test images, as the end of a message; empty where none can."""

    def fits(name: str) -> bool:
        try:
            return bool(getattr(load(catalog().get("generator", name)), "is_transform", False))
        except UsageError:
            return False  # a broken one is no hint

    names = [entry.name for entry in catalog().entries("generator") if fits(entry.name)]
    return f"; there are {', '.join(names)} (and none)" if names else ""


def check_order(links: Sequence[ResolvedPlugin]) -> None:
    """Check that the first link of a chain makes images and the others work on them.

    Raises:
        UsageError: a link stands where it cannot; the message says where it can.
    """
    for place, link in enumerate(links):
        if link.plugin.needs_upstream and place == 0:
            raise UsageError(f"{link.name}: works on another generator's images; write generator+{link.name}")
        if not link.plugin.needs_upstream and place > 0:
            raise UsageError(f"{link.name}: makes its own images and cannot follow {links[place - 1].name}+")


def _alone(chain: Chain) -> list[Chain]:
    if not any(link.name == ALL for link in chain) or ALL in catalog().names("augmentation"):
        return [chain]
    if len(chain) > 1 or chain[0].values:
        raise UsageError(f"--aug {chain_text(chain)}: all stands alone, without values; name each augmentation")
    base = base_name()
    names = [entry.name for entry in own_entries("augmentation")]
    return [(Spec(name),) for name in sorted(names, key=lambda name: (name != base, name))]


def _with_base(chain: Chain) -> Chain:
    base = base_name()
    if base is None or any(link.name == base or _is_base(link) for link in chain):
        return chain
    return (Spec(base), *chain)


def _is_base(link: Spec) -> bool:
    try:
        return bool(getattr(load(catalog().get("augmentation", link.name)), "is_base", False))
    except UsageError:
        return False  # said when the link is bound


def own_entries(kind: str) -> list[Entry]:
    """Return the plugins of a kind that ship with the harness, by name."""
    own = __name__.partition(".")[0]
    return [entry for entry in catalog().entries(kind) if entry.distribution == own]


@cache
def base_name() -> str | None:
    """Return the augmentation that every chain starts with, as the default suite says; ``None`` where it says none."""
    name: str | None = read_suite("default").get("base_augmentation")
    return name
