"""What a Python file imports, by its source alone: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
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


def defines(text: str, name: str) -> bool:
    """Whether a file of code gives its module a name; taken for granted where only running it would tell.

    Raises `SyntaxError` for a file that is no Python.
    """
    for node in _at_top(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name in (
            name,
            "__getattr__",
        ):
            return True
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound = {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            if bound & {name, "*"}:
                return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
    return False


def _at_top(module: ast.Module) -> Iterator[ast.AST]:
    """Nodes that run when a module is imported, without the bodies of functions and classes."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_NAMED, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


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
