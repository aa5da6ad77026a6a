"""What a plan can know about the CLIP that a plugin names, without opening its weights."""

from __future__ import annotations

from collections.abc import Mapping

from benchbench.errors import UsageError

#: The extra that brings each package which only some CLIPs need.
EXTRAS: Mapping[str, str] = {"open_clip": "openclip"}


def clip_packages(name: str, subject: str) -> tuple[str, ...]:
    """Return the packages that open a CLIP; where it is not on this machine yet, what transformers' format needs.

    Args:
        name: an embedded name, a folder or a hub id.
        subject: the plugin that asks, the start of the message.

    Raises:
        UsageError: it is on this machine and is no CLIP.
    """
    from benchbench.foundations import locate

    from ..foundations.loaders.clip_layout import check_clip

    try:
        folder = locate(name).folder
    except UsageError:
        return ("transformers",)  # the preflight fetches it, or says what is missing
    return (check_clip(folder, f"{subject}:clip={name}").library,)
