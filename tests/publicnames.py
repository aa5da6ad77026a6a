"""What a stranger's plugin may use: the tests hold templates, pages and third-party packages to it."""

from __future__ import annotations

import ast

#: Modules that are promised, with all that lies below them.
PUBLIC = ("benchbench.plugins", "benchbench.models", "benchbench.testing")


def private_names(source: str) -> list[str]:
    """Return what a module uses of benchbench and must not: unpromised modules, names with an underscore."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wrong += [item.name for item in node.names if not _public(item.name)]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            wrong += [module] if not _public(module) else []
            if module.split(".")[0].startswith("benchbench"):
                wrong += [f"{module}.{item.name}" for item in node.names if item.name.startswith("_")]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            wrong += [] if own else [ast.unparse(node)]
    return wrong


def _public(module: str) -> bool:
    if not module.split(".")[0].startswith("benchbench") or module == "benchbench":
        return True
    below = any(f"{module}.".startswith(f"{name}.") for name in PUBLIC)
    return below and not any(part.startswith("_") for part in module.split("."))
