"""Options that commands share: a frozen dataclass whose fields are options, spread by `grouped` over a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from typing import Any, get_type_hints


class Select(StrEnum):
    """Which recipe is meant, of those that passed."""

    SMALLEST = "smallest"
    FASTEST = "fastest"
    MOST_ACCURATE = "most-accurate"


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command in whose place each parameter that is a dataclass becomes one option for each of its fields.

    The command line shows the options in the order of the parameters; the command gets the dataclasses. Fields are
    annotated as parameters of commands are: `Annotated[Path, typer.Option("--root", metavar="DIR", help="…")]`.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if is_dataclass(kind):
            groups[name] = kind
            inner = get_type_hints(kind, include_extras=True)
            parameters += [_parameter(field.name, inner[field.name], _default(field)) for field in fields(kind)]
        else:
            parameters.append(_parameter(name, kind, parameter.default))
    names = [parameter.name for parameter in parameters]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise TypeError(f"{command.__name__}: two options are called {', '.join(repeated)}")

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **made)

    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is MISSING else field.default
