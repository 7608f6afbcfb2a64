"""`weighbridge registry …`: versions, channels and their history in plain Git."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from weighbridge.cli import publish

if TYPE_CHECKING:
    from weighbridge.registry.lifecycle.operate import Operator
    from weighbridge.registry.state.store import Outcome, Settings

app = typer.Typer(help="Versions, channels and their history, in plain Git.", no_args_is_help=True)
canary_app = typer.Typer(
    help="Give a version a growing share of traffic, and judge what is seen.", no_args_is_help=True
)
app.add_typer(canary_app, name="canary")

ROOT = typer.Option(Path(), "--root", help="The project's folder.", show_default=False)
JSON = typer.Option(False, "--json", help="JSON instead of text.")
NO_PUSH = typer.Option(False, "--no-push", help="Change the local branch only, for a pull request.")
REMOTE = typer.Option(None, "--remote", help="The git remote to swap against.", show_default=False)
REASON = typer.Option(..., "--reason", help="Why; it stays in the history.")
MODEL = typer.Argument(..., help="A model's name.")
VERSION = typer.Argument(..., help="A version, such as v7.")
EXPECT = typer.Option(None, "--expect", help="Refuse unless this version is stable now (`none`: nothing).")


@app.command()
def promote(
    recipe: str | None = typer.Argument(None, help="A recipe that passed."),
    smallest: bool = typer.Option(False, "--smallest", help="Of those that passed, the smallest file."),
    fastest: bool = typer.Option(False, "--fastest", help="Of those that passed, the lowest latency.p50."),
    most_accurate: bool = typer.Option(False, "--most-accurate", help="Of those that passed, the best accuracy.top1."),
    channel: str = typer.Option("stable", "--channel", help="`stable`, or `none` to record it for a canary."),
    expect: str | None = EXPECT,
    notes: str = typer.Option("", "--notes", help="For the record."),
    key: Path | None = typer.Option(
        None, "--key", envvar="WEIGHBRIDGE_SIGNING_KEY", help="Private key (PEM) to sign with.", show_default=False
    ),
    keyless: bool = typer.Option(False, "--keyless", help="Sign with the identity of this CI job, by sigstore."),
    trust_config: Path | None = typer.Option(
        None, "--trust-config", help="Another sigstore instance than the public one (JSON).", show_default=False
    ),
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Make what passed a version, and stable."""
    from weighbridge.core.errors import InputError
    from weighbridge.registry.lifecycle.evidence import select
    from weighbridge.registry.lifecycle.promote import Request
    from weighbridge.registry.lifecycle.promote import promote as promote_recipe
    from weighbridge.registry.trust.keyless import ambient_signer
    from weighbridge.registry.trust.signing import load_private_key

    picks = {"smallest": smallest, "fastest": fastest, "most-accurate": most_accurate}
    chosen = [name for name, wanted in picks.items() if wanted]
    if len(chosen) + (recipe is not None) != 1:
        raise InputError("expected a recipe, or one of --smallest, --fastest, --most-accurate")
    if key is not None and keyless:
        raise InputError("a version is signed by a key or without one", where="--keyless", fix="leave --key out")
    if trust_config is not None and not keyless:
        raise InputError("belongs to --keyless", where="--trust-config")
    if channel not in ("stable", "none"):
        raise InputError(f"{channel!r} is neither 'stable' nor 'none'", where="--channel")
    request = Request(
        recipe or select(root, chosen[0]), "stable" if channel == "stable" else "none", expect=expect, notes=notes
    )
    signer = ambient_signer(trust_config) if keyless else load_private_key(key) if key else None
    outcome = promote_recipe(root, request, settings=_settings(no_push, remote), key=signer)
    _say(outcome, as_json)


@app.command("list")
def list_(root: Path = ROOT, as_json: bool = JSON) -> None:
    """All models with their channels."""
    from weighbridge.registry.views.overview import models

    _table([row.to_json() for row in models(root)], as_json, "the registry has no models yet")


@app.command()
def versions(model: str = MODEL, root: Path = ROOT, as_json: bool = JSON) -> None:
    """All versions of a model, newest first."""
    from weighbridge.registry.views.overview import versions as rows

    _table([row.to_json() for row in rows(root, model)], as_json, "no versions yet")


@app.command()
def show(
    spec: str = typer.Argument(..., help="MODEL@stable, @v7, @sha256:…, or MODEL."),
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """One version's record."""
    from weighbridge.core.files import dump_yaml, pretty_json
    from weighbridge.registry.views.overview import record

    content = record(root, spec)
    typer.echo(pretty_json(content) if as_json else dump_yaml(content), nl=False)


@app.command()
def diff(
    model: str = MODEL,
    old: str = typer.Argument(..., help="A version or channel."),
    new: str = typer.Argument(..., help="A version or channel."),
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """What differs between two versions: recipe, metrics, sizes, lineage."""
    from weighbridge.registry.views.compare import compare

    _table([row.to_json() for row in compare(root, f"{model}@{old}", f"{model}@{new}")], as_json, "no difference")


@app.command()
def resolve(
    spec: str = typer.Argument(..., help="MODEL@stable|canary|baseline|v7|sha256:…|TIME"),
    target: str | None = publish.TARGET,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """The version that a name stands for; prints `MODEL@VERSION DIGEST`."""
    from weighbridge.registry.lookup.resolve import resolve as find

    found = find(root, spec, target=target)
    typer.echo(found.json_text() if as_json else found.line(), nl=False)
    if found.quarantined:
        typer.echo(f"warning: {found.version} is quarantined", err=True)
    if found.deprecated is not None:
        typer.echo(f"warning: {found.version} is deprecated: {found.deprecated}", err=True)


@app.command()
def history(
    model: str = MODEL,
    limit: int = typer.Option(0, "--limit", "-n", min=0, help="The last N events (0: all)."),
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """What happened to a model, newest first."""
    from weighbridge.registry.views.overview import history as rows

    _table([row.to_json() for row in rows(root, model, limit)], as_json, "nothing happened yet")


@app.command()
def release(
    model: str = MODEL,
    version: str = VERSION,
    reason: str = typer.Option("", "--reason", help="Why; it stays in the history."),
    expect: str | None = EXPECT,
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Make a recorded version stable."""
    _say(_operator(root, model, no_push, remote).release(version, reason=reason, expect=expect), as_json)


@app.command()
def rollback(
    model: str = MODEL,
    to: str | None = typer.Option(None, "--to", help="A version or `baseline`; default: what was stable before."),
    reason: str = REASON,
    keep: bool = typer.Option(False, "--no-quarantine", help="Do not quarantine the version that is left."),
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Back to a version whose bytes are proven first; what is left is quarantined."""
    _say(_operator(root, model, no_push, remote).roll_back(reason=reason, to=to, quarantine=not keep), as_json)


@app.command()
def quarantine(
    model: str = MODEL,
    version: str = VERSION,
    reason: str = REASON,
    lift: bool = typer.Option(False, "--lift", help="Lift the quarantine."),
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Forbid a version to serve again."""
    _say(_operator(root, model, no_push, remote).quarantine(version, reason=reason, lift=lift), as_json)


@app.command()
def deprecate(
    model: str = MODEL,
    version: str = VERSION,
    reason: str = REASON,
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Mark a version as one that should not be taken any more."""
    _say(_operator(root, model, no_push, remote).deprecate(version, reason=reason), as_json)


@app.command()
def verify(
    models: list[str] | None = typer.Argument(None, help="Models; default: all."),
    since: str | None = typer.Option(
        None, "--since", help="A trusted commit; default: the last one verified in this clone."
    ),
    deep: bool = typer.Option(False, "--deep", help="Also read every record as a document of its schema."),
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Check chain, digests, channels, signatures, and that history only grew."""
    from datetime import UTC, datetime, timedelta

    from weighbridge.registry.trust.audit import audit

    rows = audit(root, models=models or None, since=since, deep=deep, now=datetime.now(UTC) + timedelta(days=1))
    _table([dict(vars(row)) for row in rows], as_json, "the registry has no models yet")


@app.command()
def gc(
    dry_run: bool = typer.Option(False, "--dry-run", help="List what could go; deleting is left to you."),
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Which bytes in DVC's cache the registry still needs, and which it does not."""
    from weighbridge.core.errors import InputError
    from weighbridge.registry.lifecycle.gc import plan

    if not dry_run:
        raise InputError("nothing is deleted here", where="gc", fix="run it with --dry-run to see what could go")
    _table([row.to_json() for row in plan(root)], as_json, "the cache is empty")


@app.command()
def schemas(out: Path = typer.Argument(..., help="A folder for the .schema.json files.")) -> None:
    """Write the JSON Schemas of all documents."""
    from weighbridge.registry.views.schemas import write

    for path in write(out):
        typer.echo(str(path))


@app.command("trust-root")
def trust_root(
    out: Path = typer.Argument(..., help="The file that the policy names as its trust_root."),
    offline: bool = typer.Option(False, "--offline", help="The one that came with sigstore, or was fetched last."),
) -> None:
    """Write the trust root of sigstore's public instance, by which signatures without keys are checked offline."""
    from weighbridge.core.files import atomic_write
    from weighbridge.registry.trust.keyless import public_trust_root

    atomic_write(out, public_trust_root(offline=offline))
    typer.echo(str(out))


@canary_app.command("start")
def canary_start(
    model: str = MODEL,
    version: str = VERSION,
    steps: str | None = typer.Option(None, "--steps", help="Per cent, such as 5,25,50,100; default: the policy's."),
    min_samples: int | None = typer.Option(None, "--min-samples", min=1, help="Requests needed per step."),
    min_time: str | None = typer.Option(None, "--min-time", help="Time needed per step, such as 10min."),
    reason: str = typer.Option("", "--reason", help="Why; it stays in the history."),
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Give a version its first share of traffic."""
    from weighbridge.registry.trust.policy import plan_with

    plan = plan_with(root, steps=steps, min_samples=min_samples, min_time=min_time)
    _say(_operator(root, model, no_push, remote).start_canary(version, plan, reason=reason), as_json)


@canary_app.command("advance")
def canary_advance(
    model: str = MODEL,
    reason: str = REASON,
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Take the next step by hand; after the last one the canary is stable."""
    _say(_operator(root, model, no_push, remote).advance_canary(reason=reason), as_json)


@canary_app.command("abort")
def canary_abort(
    model: str = MODEL,
    reason: str = REASON,
    keep: bool = typer.Option(False, "--no-quarantine", help="Do not quarantine the version."),
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Take all traffic from the canary."""
    _say(_operator(root, model, no_push, remote).abort_canary(reason=reason, quarantine=not keep), as_json)


@canary_app.command("status")
def canary_status(model: str = MODEL, root: Path = ROOT, as_json: bool = JSON) -> None:
    """The canary's step, weight and plan."""
    from weighbridge.core.files import dump_yaml, pretty_json
    from weighbridge.registry.views.overview import canary

    content = canary(root, model)
    typer.echo(pretty_json(content) if as_json else dump_yaml(content), nl=False)


@canary_app.command("judge")
def canary_judge(
    model: str = MODEL,
    metrics: str = typer.Option(..., "--metrics", help="FILE.jsonl, or prometheus=URL"),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be decided; change nothing."),
    no_push: bool = NO_PUSH,
    remote: str | None = REMOTE,
    root: Path = ROOT,
    as_json: bool = JSON,
) -> None:
    """Decide advance, hold or abort from what was seen online. Exits 0 advance, 1 abort, 3 hold."""
    from weighbridge.core.files import pretty_json
    from weighbridge.registry.canary.judge import judge

    decision = judge(root, model, metrics, settings=_settings(no_push, remote), dry_run=dry_run)
    typer.echo(pretty_json(decision.to_json()) if as_json else decision.text(), nl=False)
    raise typer.Exit(decision.exit_code)


publish.register(app)


def _settings(no_push: bool, remote: str | None) -> Settings:
    from weighbridge.registry.state.store import Settings

    return Settings(push=not no_push, remote=remote)


def _operator(root: Path, model: str, no_push: bool, remote: str | None) -> Operator:
    from weighbridge.registry.lifecycle.operate import Operator

    return Operator(root, model, _settings(no_push, remote))


def _say(outcome: Outcome, as_json: bool) -> None:
    from weighbridge.core.files import pretty_json

    if as_json:
        facts = {
            "event": outcome.event.to_json(),
            "channels": outcome.channels.to_json(),
            "commit": outcome.commit,
            "pushed": outcome.pushed,
            "attempts": outcome.attempts,
            "local": outcome.local,
        }
        typer.echo(pretty_json(facts), nl=False)
        return
    event, stable = outcome.event, outcome.channels.stable
    version = event.target.version if event.target else event.records[-1].version
    what = f"{event.kind} {version}"
    if event.kind == "rolled-back":
        left = event.evidence.get("left", "what was stable")
        what = f"rolled back from {left} to {version}" + (f", and quarantined {left}" if event.quarantine else "")
    typer.echo(f"{event.model}: {what} (event {event.number}, commit {outcome.commit[:12]})")
    typer.echo(f"stable: {stable.version if stable else 'none'}; {'pushed' if outcome.pushed else 'not pushed'}")
    if outcome.local:
        typer.echo(f"the working tree does not show it yet: {outcome.local}", err=True)


def _table(rows: list[dict[str, Any]], as_json: bool, empty: str) -> None:
    from weighbridge.core.files import pretty_json

    if as_json:
        typer.echo(pretty_json(rows), nl=False)
    elif not rows:
        typer.echo(empty)
    else:
        from tabulate import tabulate

        typer.echo(tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True))
