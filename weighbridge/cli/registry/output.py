"""How the registry's commands print: tables, documents, changes; each as JSON too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from weighbridge.registry.state.tip import Committed


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """JSON with indents."""
    from weighbridge.core.files import pretty_json

    typer.echo(pretty_json(value), nl=False)


def print_document(content: dict[str, Any], *, as_json: bool) -> None:
    """YAML, or JSON."""
    from weighbridge.core.files import dump_yaml

    if as_json:
        print_json(content)
    else:
        typer.echo(dump_yaml(content), nl=False)


def print_table(rows: list[dict[str, Any]], empty: str, *, as_json: bool) -> None:
    """A table, or `empty` where there are no rows."""
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(empty)
    else:
        from weighbridge.cli.console import width
        from weighbridge.core.columns import columns

        typer.echo(columns(rows, width()))


def write(content: str, out: Path | None) -> None:
    """To a file, whose path is printed, or to the terminal."""
    from weighbridge.core.files import atomic_write

    if out is None:
        typer.echo(content, nl=False)
    else:
        atomic_write(out, content.encode())
        typer.echo(str(out))


def print_change(committed: Committed, *, as_json: bool) -> None:
    """What a change of the registry did."""
    if as_json:
        print_json(
            {
                "event": committed.event.to_json(),
                "channels": committed.channels.to_json(),
                "commit": committed.commit,
                "pushed": committed.pushed,
                "attempts": committed.attempts,
                "local": committed.local,
            }
        )
        return
    event, stable = committed.event, committed.channels.stable
    version = event.target.version if event.target else event.records[-1].version
    what = f"{event.kind} {version}"
    if event.kind == "rolled-back":
        left = event.evidence.get("left", "what was stable")
        what = f"rolled back from {left} to {version}" + (f", and quarantined {left}" if event.quarantine else "")
    typer.echo(f"{event.model}: {what} (event {event.number}, commit {committed.commit[:12]})")
    typer.echo(f"stable: {stable.version if stable else 'none'}; {'pushed' if committed.pushed else 'not pushed'}")
    if committed.local:
        typer.echo(f"the working tree does not show it yet: {committed.local}", err=True)
