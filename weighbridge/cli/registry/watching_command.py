"""`weighbridge registry watch`: one look at the stable version, after its promotion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_json
from weighbridge.cli.registry.registry_options import ChangeOptions, Model, ProjectOptions


@grouped
def watch(
    model: Model,
    *,
    log: Annotated[
        list[Path] | None, typer.Option("--log", metavar="FILE.jsonl", help="The server's log; repeatable.")
    ] = None,
    journal: Annotated[
        list[Path] | None, typer.Option("--journal", metavar="FILE", help="The server's journal of labels.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="prometheus=URL", help="In place of a log: a Prometheus server.")
    ] = None,
    notify: Annotated[
        str | None, typer.Option("--notify", metavar="URL", help="Post new alarms there, signed.")
    ] = None,
    clear: Annotated[
        str | None,
        typer.Option("--clear", metavar="REASON", help="End an alarm that holds: somebody looked. Nothing is read."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is found; change nothing.")] = False,
    change: ChangeOptions,
    project: ProjectOptions,
) -> None:
    """Compare stable's traffic with its reference window. Exits 0 quiet, 1 alarm, 3 nothing could be judged."""
    import os
    import time

    from weighbridge.registry.watch.watching import source_of
    from weighbridge.registry.watch.watching import watch as look_at
    from weighbridge.registry.watch.webhook import SECRET, Webhook

    if clear is not None:
        _clear(model, clear, change, project)
        return
    hook = Webhook(notify, os.environ.get(SECRET, "")) if notify else None
    source = source_of(model, metrics, log or (), journal or ())
    look = look_at(project.home, source, settings=change.settings(), dry_run=dry_run)
    if project.as_json:
        print_json(look.to_json())
    else:
        typer.echo(look.text(), nl=False)
    if hook is not None and look.written:
        hook.post(look.to_json(), time.time())
    raise typer.Exit(look.exit_code)


def _clear(model: str, reason: str, change: ChangeOptions, project: ProjectOptions) -> None:
    from weighbridge.registry.lifecycle.alarms import Watcher

    done = Watcher(project.home, model, change.settings()).clear(reason=reason)
    typer.echo(f"{model}: cleared as event {done.event.number}")
