"""Options that commands share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner, Result

from weighbridge.cli.options import grouped


@dataclass(frozen=True)
class Place:
    """Where."""

    root: Annotated[Path, typer.Option("--root", help="The folder.")] = Path()
    depth: Annotated[int, typer.Option("--depth", min=1)] = 3
    tags: Annotated[list[str], typer.Option("--tag")] = field(default_factory=list)


@dataclass(frozen=True)
class Needed:
    """Without a default."""

    why: Annotated[str, typer.Option("--why")]


def _run(*arguments: str) -> Result:
    app = typer.Typer()

    @app.command()
    @grouped
    def look(name: str, *, place: Place, loud: Annotated[bool, typer.Option("--loud")] = False, needed: Needed) -> None:
        """Look around."""
        typer.echo(json.dumps([name, str(place.root), place.depth, loud, needed.why]))

    return CliRunner().invoke(app, list(arguments))


def test_a_command_gets_its_groups_as_values() -> None:
    done = _run("here", "--root", "over/there", "--loud", "--why", "because")
    assert json.loads(done.stdout) == ["here", "over/there", 3, True, "because"]


def test_help_lists_the_options_in_the_order_of_the_parameters() -> None:
    text = _run("--help").stdout
    assert "Look around." in text
    places = [text.index(name) for name in ("--root", "--depth", "--loud", "--why")]
    assert places == sorted(places)


@pytest.mark.parametrize("arguments", [["here"], ["here", "--why", "x", "--depth", "0"], ["--why", "x"]])
def test_what_a_group_requires_is_required(arguments: list[str]) -> None:
    done = _run(*arguments)
    assert done.exit_code == 2
    assert not done.stdout


def test_two_options_of_one_name_are_refused() -> None:
    with pytest.raises(TypeError, match="twice: two options are called root"):

        @grouped
        def twice(*, place: Place, root: str = "") -> None:
            """Never made."""
