"""`weighbridge registry …`: versions, channels and their history in plain Git.

`look` reads, `promote`, `channels` and `canary` change, `upkeep` checks, `publish` and `kubernetes` let versions out.
"""

from __future__ import annotations

from weighbridge.cli.registry import (
    canary,
    channels,
    kubernetes,
    look,
    promote_command,
    publish,
    upkeep,
    watching_command,
)
from weighbridge.cli.usage import Application

app = Application(help="Versions, channels and their history, in plain Git.")
app.command("promote")(promote_command.promote)
app.command("list")(look.models)
for command in (look.versions, look.show, look.diff, look.resolve, look.history):
    app.command()(command)
for command in (channels.release, channels.rollback, channels.quarantine, channels.deprecate):
    app.command()(command)
for command in (upkeep.verify, upkeep.gc, upkeep.migrate, upkeep.schemas):
    app.command()(command)
app.command("trust-root")(upkeep.trust_root)
for command in (publish.pull, publish.push, publish.card, publish.export, publish.tags, publish.site):
    app.command()(command)
app.command()(kubernetes.manifests)
app.command()(watching_command.watch)
app.add_typer(canary.app, name="canary")
