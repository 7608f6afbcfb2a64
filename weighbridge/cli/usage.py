"""How every command shows its arguments, takes old spellings, and reports wrong usage in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from typer.exceptions import TyperException

Body = TypeVar("Body", bound=Callable[..., Any])
PLACEHOLDERS: Mapping[object, str] = {Path: "PATH", int: "N", float: "NUMBER"}
"""What help shows for a value of this type; `TEXT` for all others, and whatever `metavar=` says first."""

RENAMED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "init": {"--remote": ("--dvc-remote",)},
    "registry pull": {"--remote": ("--dvc-remote",)},
    "registry promote": {
        "--smallest": ("--select", "smallest"),
        "--fastest": ("--select", "fastest"),
        "--most-accurate": ("--select", "most-accurate"),
    },
    "registry gc": {"--dry-run": ()},
}
"""Command → an option's old spelling → what it is now. The old one still works, with a note on standard error."""


class Command(TyperCommand):
    """A command whose help names values by placeholders that people know (`PATH`, `N`, `a|b`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.metavar is None:
                is_argument = parameter.param_type_name == "argument"
                parameter.metavar = parameter.name.upper() if is_argument else placeholder(parameter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Replace old spellings, then parse."""
        return super().parse_args(ctx, renamed(_words(ctx), args))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] BASELINE [CANDIDATE] FILES...`."""
        arguments = [item for item in self.get_params(ctx) if item.param_type_name == "argument"]
        return ["[OPTIONS]", *map(_usage, arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections `Arguments` and `Options`."""
        rows: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                kind = parameter.param_type_name
                name = _usage(parameter).strip("[]") if kind == "argument" else record[0]
                rows[kind].append((name, record[1]))
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            if rows[kind]:
                with formatter.section(title):
                    formatter.write_dl(rows[kind])


class ClosedPipeError(Exception):
    """Whoever read standard output has stopped. No `OSError`: typer would end that with 1, which is a verdict."""


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ClosedPipeError from error


class CommandGroup(TyperGroup):
    """A group of commands that prints its help on standard error, with exit code 2, where no command is named."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse, which prints help and version."""
        with _output():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        with _output():
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Help where nothing is to parse."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)
        return super().parse_args(ctx, args)


class Application(typer.Typer):
    """A `Typer` of such commands. Plain help: importing rich would take longer than everything else."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"cls": CommandGroup, "rich_markup_mode": None, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Body], Body]:
        """Register a command, as `Typer.command` does."""
        return super().command(name, **{"cls": Command, **settings})


def placeholder(parameter: Any) -> str | None:
    """What an option's value is shown as; None for a flag."""
    if parameter.is_flag or parameter.count:
        return None
    kind = parameter.type_descriptor
    if kind.choices:
        return "|".join(str(getattr(choice, "value", choice)) for choice in kind.choices)
    annotation = (get_args(kind.annotation) or (kind.annotation,))[0] if kind.is_list else kind.annotation
    return PLACEHOLDERS.get(annotation, "TEXT")


def renamed(command: str, words: Sequence[str]) -> list[str]:
    """The words of a command line with options in the spelling of today; what was replaced is said."""
    table = RENAMED.get(command, {})
    result: list[str] = []
    for index, word in enumerate(words):
        if word == "--":
            return [*result, *words[index:]]
        name, equals, value = word.partition("=")
        if name not in table:
            result.append(word)
            continue
        new = table[name]
        told = f"is now {' '.join(new)}" if new else "is no longer needed"
        sys.stderr.write(f"weighbridge: note: {command}: {name} {told}\n")
        result += [f"{new[0]}={value}"] if equals and new else new
    return result


def usage_line(error: TyperException) -> str:
    """A usage error as one line: what is wrong, the closest spelling, and where help is."""
    possible = getattr(error, "possibilities", None)
    text = f"{error.message}; did you mean {possible[0]}?" if possible else error.format_message()
    text = " ".join(text.split()).replace(": Value error, ", ": ")  # pydantic's prefix
    context = getattr(error, "ctx", None)
    help_at = f" (see {context.command_path} --help)" if context else ""
    return f"{text[:1].lower()}{text[1:]}".removesuffix(".") + help_at


def _words(context: Any) -> str:
    """The command without the program's name: `registry pull`."""
    return f"{_words(context.parent)} {context.info_name}".strip() if context.parent else ""


def _usage(argument: Any) -> str:
    name = f"{argument.metavar}..." if argument.nargs != 1 else str(argument.metavar)
    return name if argument.required else f"[{name}]"
