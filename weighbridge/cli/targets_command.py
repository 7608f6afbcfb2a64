"""`weighbridge targets`: what is installed, in which versions, and what each target can quantize."""

from __future__ import annotations

from typing import Any

import typer


def targets(as_json: bool = typer.Option(False, "--json", help="Rows as JSON.")) -> None:
    """Show each target: whether artifacts can be built and weighed here, versions, and what it can quantize."""
    from weighbridge.cli.console import width
    from weighbridge.compress.capabilities import describe
    from weighbridge.core.columns import columns
    from weighbridge.core.facts import isa
    from weighbridge.core.files import pretty_json

    rows = describe(sorted(isa.flags() & isa.KERNELS))
    if as_json:
        typer.echo(pretty_json(rows))
        return
    typer.echo(columns([_line(row) for row in rows], width()))
    for row in rows:
        for note in _notes(row):
            typer.echo(note)
    typer.echo(f"instruction sets: {' '.join(rows[0]['isa']) or 'unknown'}")


def _line(row: dict[str, Any]) -> dict[str, str]:
    return {
        "target": row["target"],
        "compress": "yes" if row["compress"] and not row["conflicts"] else "no",
        "weigh": "yes" if row["weigh"] else "no",
        "versions": ", ".join(f"{name} {version}" for name, version in row["versions"].items()) or "-",
        "quantize": ", ".join(row["quantizes"]),
        "steps on files": ", ".join(row["steps"]),
    }


def _notes(row: dict[str, Any]) -> list[str]:
    """What to do about a target that cannot be used, one sentence each."""
    found = [f"{row['target']}: {complaint}" for complaint in row["conflicts"]]
    if row["missing"]:
        missing = ", ".join(row["missing"])
        found.append(f"{row['target']}: {missing} missing; pip install 'weighbridge[{row['extra']}]'")
    return found
