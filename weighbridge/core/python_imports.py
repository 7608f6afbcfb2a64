"""What a Python file imports, by its source alone: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_GUARDS = ("TYPE_CHECKING", "__main__")


def inert(text: str | None) -> bool:
    """Whether a file of code does nothing when it is imported, as an empty `__init__.py`, or one with a docstring."""
    try:
        body = ast.parse(text or "").body
    except (SyntaxError, ValueError, RecursionError):
        return False
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def imported_names(text: str) -> list[tuple[int, str]]:
    """Level and dotted name of everything that a file imports when it runs; none of a file that is no Python."""
    try:
        return list(_names(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError):
        return []  # whoever imports it will say so


def _names(module: ast.Module) -> Iterator[tuple[int, str]]:
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and any(word in ast.dump(node.test) for word in _GUARDS):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node.level, base
            yield from ((node.level, f"{base}.{alias.name}" if base else alias.name) for alias in node.names)
        waiting += ast.iter_child_nodes(node)
