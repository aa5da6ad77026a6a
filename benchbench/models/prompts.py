"""Prompt templates: one ``{}`` where the class name goes."""

from __future__ import annotations

from ..plugins import DatasetInfo


def check_template(template: str | None) -> None:
    """Raise ``ValueError``, as a parameter's check does, unless there is exactly one ``{}`` and no other brace."""
    if template is not None and (template.count("{}") != 1 or set("{}") & set(template.replace("{}", ""))):
        raise ValueError(f"template={template}: must have exactly one {{}}, where the class name goes")


def class_prompts(info: DatasetInfo, template: str | None = None) -> tuple[str, ...]:
    """Return one prompt for each class, in label order: the names a dataset gives for prompts in its template.

    Args:
        info: the dataset; without ``prompt_names`` its class names are used.
        template: in place of the dataset's.
    """
    return tuple((template or info.prompt).replace("{}", name) for name in info.prompt_names or info.classes)
