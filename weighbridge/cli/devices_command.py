"""`weighbridge devices`: which devices of `params.yaml` can be reached, and what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from weighbridge.core.errors import ExitCode


def devices(
    root: Path = typer.Option(Path(), "--root", metavar="DIR", help="The project's folder.", show_default=False),
    as_json: bool = typer.Option(False, "--json", help="Rows as JSON."),
) -> None:
    """Reach every device of params.yaml and show what it is: class, fingerprint, instruction sets, runtimes.

    Exits with 0 if all were reached and have the runtimes that they are to weigh with, with 3 otherwise.
    """
    from weighbridge.cli.console import width
    from weighbridge.core.columns import columns
    from weighbridge.core.files import pretty_json
    from weighbridge.core.git import find_project
    from weighbridge.gate.devices.survey import survey

    rows = survey(find_project(root))
    if as_json:
        typer.echo(pretty_json(rows))
    else:
        typer.echo(columns([_line(row) for row in rows], width()))
        for row in rows:
            for note in _notes(row):
                typer.echo(note)
    fit = all(row["reachable"] and not row["missing"] for row in rows)
    raise typer.Exit(ExitCode.PASS if fit else ExitCode.UNJUDGED)


def _line(row: dict[str, Any]) -> dict[str, str]:
    if not row["reachable"]:
        return {"device": row["name"], "by": row["way"], "reached": "no"}
    found = row["device"]
    return {
        "device": row["name"],
        "by": row["way"],
        "reached": "yes",
        "class": found["device_class"],
        "system": found["system"],
        "isa": " ".join(found["isa"]) or "-",
        "runtimes": ", ".join(f"{name} {version}" for name, version in found["runtimes"].items()),
        "fingerprint": found["fingerprint"].removeprefix("sha256:")[:12],
    }


def _notes(row: dict[str, Any]) -> list[str]:
    if not row["reachable"]:
        return [row["problem"]]
    return [f"{row['name']}: has no runtime for {target}, which it is to weigh" for target in row["missing"]]
