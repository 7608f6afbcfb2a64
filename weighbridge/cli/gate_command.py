"""`weighbridge gate`: the verdict of the last pipeline run, as a table and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from weighbridge.gate.stages.summary import CheckedGate


def gate(
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="Print reports/verdict.json instead of a table."),
    base: str = typer.Option(
        None,
        "--base",
        metavar="REVISION",
        help="Compare the budgets with those of the merge base with this revision.",
        show_default=False,
    ),
    portable: bool = typer.Option(
        False,
        "--portable",
        help="Also compare answers with those on other processors, by valgrind and qemu-user; a minute at most.",
    ),
    out: Path = typer.Option(
        None, "--out", metavar="DIR", help="Write verdict.json, gate.md and gate.html here too.", show_default=False
    ),
) -> None:
    """Print the verdict of the last pipeline run and exit with its code.

    The verdict is judged again from the measurements first: one that does not follow from them,
    from the artifacts or from params.yaml as they are now is refused. With --base, a budget that asks for less than
    in the merge base fails without a waiver. With --portable, an artifact that answers otherwise on
    another processor fails.
    """
    from weighbridge.cli.console import painted, width
    from weighbridge.core.files import pretty_json
    from weighbridge.core.git import find_project

    checked = _checked(find_project(root), base, portable=portable)
    if out is not None:
        checked.write(out)
    if as_json:
        typer.echo(pretty_json(checked.verdict.to_json()), nl=False)
    else:
        typer.echo(painted(checked.table(width())), nl=False)
    raise typer.Exit(checked.verdict.verdict.exit_code)


def _checked(root: Path, base: str | None, *, portable: bool) -> CheckedGate:
    """The last run's verdict, judged again."""
    import datetime as dt
    from functools import partial

    from weighbridge.ci.acted_on import acted_on
    from weighbridge.gate.stages import summary
    from weighbridge.gate.stages.merge_base import merge_base
    from weighbridge.gate.stages.portable import portability

    elsewhere = partial(portability, root) if portable else None
    against, today = merge_base(root, base) if base else None, dt.datetime.now(dt.UTC).date()
    checked = summary.check(root, elsewhere=elsewhere, base=against, today=today)
    again = f"dvc repro && weighbridge gate --base {against.revision}" if against else "dvc repro && weighbridge gate"
    return acted_on(checked, root, against, again, today)
