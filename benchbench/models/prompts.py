"""Prompt templates: one ``{}`` where the class name goes."""

from __future__ import annotations

from dataclasses import dataclass

from ..plugins import DatasetInfo, param


@dataclass(frozen=True)
class Prompted:
    """A plugin that asks for each class by a prompt; extend it before the class of the plugin's kind."""

    template: str | None = param(
        None, help="Prompt with one {} where the class name goes; none is the dataset's template."
    )

    def __post_init__(self) -> None:
        """Raise ``ValueError``, as a parameter's check does, unless there is exactly one ``{}`` and no other brace."""
        given = self.template
        if given is not None and (given.count("{}") != 1 or set("{}") & set(given.replace("{}", ""))):
            raise ValueError(f"template={given}: must have exactly one {{}}, where the class name goes")

    def prompts(self, info: DatasetInfo) -> tuple[str, ...]:
        """Return one prompt for each class, in label order."""
        return class_prompts(info, self.template)


def class_prompts(info: DatasetInfo, template: str | None = None) -> tuple[str, ...]:
    """Return one prompt for each class, in label order: the names a dataset gives for prompts in its template.

    Args:
        info: the dataset; without ``prompt_names`` its class names are used.
        template: in place of the dataset's.
    """
    return tuple((template or info.prompt).replace("{}", name) for name in info.prompt_names or info.classes)
