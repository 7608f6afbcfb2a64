"""A user's callables and factories, imported from the project's folder or the top of its repository."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError


def import_callable(reference: str, where: str) -> Callable[..., Any]:
    """Import `package.module:callable` with the current folder on the path, and the repository's top after it.

    A module or name that is missing, or does not import, is an `InputError` that says which.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise InputError(f"{reference!r} is not 'package.module:callable'", where=where)
    here = Path.cwd()
    search_below(here)
    try:
        with contextlib.chdir(code_folder(here, module_name)):
            module = importlib.import_module(module_name)
    except Exception as error:  # a user's module may raise anything while it is imported
        raise InputError(f"{module_name} does not import: {error!r}", where=where) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise InputError(f"{module_name} has no callable {name!r}", where=where)
    return found  # type: ignore[no-any-return]


def search_below(project: Path) -> None:
    """Have modules found in a project's folder first, then at the top of its repository, then where Python looks."""
    from weighbridge.core.user_code import repository_top  # noqa: PLC0415  # see `Split.digest`

    home = project.resolve()
    wanted = [str(folder) for folder in dict.fromkeys([home, repository_top(home) or home])]
    missing = [folder for folder in wanted if folder not in sys.path]
    if wanted[0] in sys.path:
        place = sys.path.index(wanted[0]) + 1
        sys.path[place:place] = missing
    else:
        sys.path[:0] = missing


def code_folder(project: Path, module: str) -> Path:
    """Where a module of the user's is looked up from: the project's folder, or the top of its repository.

    Its code runs there, so that a path such as `data/train.csv` means the same as in the user's own scripts.
    """
    from weighbridge.core.user_code import repository_top  # noqa: PLC0415  # see `Split.digest`

    first = module.partition(".")[0]
    for folder in (project, repository_top(project)):
        if folder is not None and ((folder / f"{first}.py").is_file() or (folder / first).is_dir()):
            return folder
    return project


def call_factory(reference: str, where: str) -> Any:
    """Import and call a factory without arguments, in its `code_folder`; whatever it raises is an `InputError` that
    names it.
    """
    factory = import_callable(reference, where)
    try:
        with contextlib.chdir(code_folder(Path.cwd(), reference.partition(":")[0])):
            return factory()
    except Exception as error:  # a user's factory may raise anything
        raise InputError(f"{reference} failed: {error!r}", where=where) from error
