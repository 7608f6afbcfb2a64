"""`weighbridge ci …`: what the workflows call. Any other CI system can call the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from weighbridge.cli.options import Select
from weighbridge.cli.usage import Application

if TYPE_CHECKING:
    from weighbridge.ci.event import GateRun
    from weighbridge.ci.judged import JudgedProject
    from weighbridge.ci.promotion import Promoted
    from weighbridge.core.documents.keyed_report import ChangeReport

app = Application(help="What the workflows call; the same in any CI system.")

ROOT = typer.Option(Path(), "--root", metavar="DIR", help="A folder of the repository.", show_default=False)
LARGEST_SUMMARY = 1_000_000
"""Bytes; GitHub refuses a step's summary over 1 MiB."""


@app.command()
def gate(
    root: Path = ROOT,
    base: str | None = typer.Option(
        None, "--base", metavar="REVISION", help="Revision to compare with; default: what CI says."
    ),
    everything: bool = typer.Option(False, "--everything", help="Weigh also what the change does not touch."),
    portable: bool | None = typer.Option(
        None,
        "--portable/--no-portable",
        help="Compare answers with those on other processors too; default: where valgrind or an arm64 Python is there.",
        show_default=False,
    ),
) -> None:
    """Reproduce, weigh and judge what a change touches, by the budgets of its merge base."""
    import datetime as dt

    from weighbridge.ci import change_gate, judged
    from weighbridge.ci.event import this_run
    from weighbridge.core.git import Git

    run = this_run(os.environ)
    git = Git.discover(root)
    today = dt.datetime.now(dt.UTC).date()
    found = change_gate.judge_all(change_gate.Change(git, base or run.base, today, everything, portable), _say)
    report = judged.write_out(found, git)
    code = judged.exit_code(found)
    _publish(run, found, report)
    typer.echo(f"{'' if run.summary else judged.markdown(report)}{_one_line_each(found)}", nl=False)
    raise typer.Exit(code)


@app.command()
def comment(
    report: Path = typer.Option(..., "--report", metavar="DIR", help="Folder with what the gate's run uploaded."),
    author: str = typer.Option(
        "github-actions[bot]", "--author", metavar="LOGIN", help="Who our comments are written by."
    ),
) -> None:
    """Create or update the pull request's one comment; reads GITHUB_TOKEN and the workflow_run event."""
    from weighbridge.ci.comment import post
    from weighbridge.ci.event import finished_run, read_event
    from weighbridge.ci.github import GitHub
    from weighbridge.ci.uploaded_report import read_report

    run = finished_run(read_event(os.environ))
    github = GitHub(
        os.environ.get("GITHUB_REPOSITORY", ""),
        os.environ.get("GITHUB_TOKEN", ""),
        os.environ.get("GITHUB_API_URL", "https://api.github.com"),
    )
    posted = post(github, run, read_report(report), author)
    where = f" on pull request {posted.pull_request}" if posted.pull_request else ""
    typer.echo(f"comment{where}: {posted.status}")


@app.command()
def promote(
    evidence: Path = typer.Option(
        Path(".weighbridge/ci/evidence"),
        "--evidence",
        metavar="DIR",
        help="Folder that `ci gate` wrote.",
        show_default=False,
    ),
    recipe: str | None = typer.Option(
        None, "--recipe", metavar="RECIPE", help="The recipe to promote, instead of --select."
    ),
    select: Select = typer.Option(Select.SMALLEST, "--select", help="Which of those that passed to promote."),
    keyless: bool = typer.Option(
        False, "--keyless", envvar="WEIGHBRIDGE_KEYLESS", help="Sign with the identity of this job, by sigstore."
    ),
    root: Path = ROOT,
) -> None:
    """Promote what the gate passed at this commit, signed with WEIGHBRIDGE_SIGNING_KEY_PEM or --keyless, and push."""
    from weighbridge.ci.event import this_run
    from weighbridge.ci.promotion import Choice, promote_all, signing_key
    from weighbridge.core.errors import InputError
    from weighbridge.core.git import Git
    from weighbridge.registry.trust.keyless import ambient_signer

    with signing_key(os.environ.get("WEIGHBRIDGE_SIGNING_KEY_PEM", "")) as key:
        if key is not None and keyless:
            raise InputError("a version is signed by a key or without one", where="--keyless", fix="remove the secret")
        signer = ambient_signer() if keyless else key
        found = promote_all(Git.discover(root), evidence, Choice(recipe, select.value), signer)
    _publish_promotions(this_run(os.environ), found)


@app.command()
def canary(
    metrics: str = typer.Option(
        ...,
        "--metrics",
        metavar="FILE|prometheus=URL",
        help="What was seen online: a .jsonl file, or a Prometheus server.",
    ),
    root: Path = ROOT,
) -> None:
    """Judge every running canary, and take up what waits for one's end. Exits 1 if one was aborted, 0 otherwise."""
    from weighbridge.core.errors import ExitCode
    from weighbridge.registry.canary.canary_judge import judge
    from weighbridge.registry.lifecycle.waiting import take_up
    from weighbridge.registry.state.layout import home
    from weighbridge.registry.state.tip import Settings
    from weighbridge.registry.views.overview import models

    aborted, root = False, home(root)
    for row in models(root):
        if row.canary is None:
            taken = take_up(root, row.model, Settings())
            if taken is not None:
                typer.echo(f"{row.model}: {taken.event.kind}: {taken.event.reason}")
            continue
        decision = judge(root, row.model, metrics, settings=Settings())
        typer.echo(decision.text(), nl=False)
        aborted = aborted or decision.exit_code == ExitCode.FAIL
    raise typer.Exit(ExitCode.FAIL if aborted else ExitCode.PASS)


@app.command()
def watch(
    metrics: str = typer.Option(
        ...,
        "--metrics",
        metavar="FILE|prometheus=URL",
        help="What was seen online: a .jsonl file, or a Prometheus server.",
    ),
    notify: str | None = typer.Option(None, "--notify", metavar="URL", help="Post new alarms there, signed."),
    root: Path = ROOT,
) -> None:
    """Look at every stable version. Exits 1 if an alarm is new, 3 if the data of one cannot be used, 0 otherwise."""
    import time

    from weighbridge.core.errors import ExitCode
    from weighbridge.registry.state.layout import home
    from weighbridge.registry.state.tip import Settings
    from weighbridge.registry.views.overview import models
    from weighbridge.registry.watch.watching import source_of
    from weighbridge.registry.watch.watching import watch as look_at
    from weighbridge.registry.watch.webhook import SECRET, Webhook

    hook, root = Webhook(notify, os.environ.get(SECRET, "")) if notify else None, home(root)
    looks = []
    for row in models(root):
        if row.stable is None:
            continue
        look = look_at(root, source_of(row.model, metrics), settings=Settings())
        typer.echo(look.text(), nl=False)
        if hook is not None and look.written:
            hook.post(look.to_json(), time.time())
        looks.append(look)
    code = ExitCode.UNJUDGED if any(look.problems for look in looks) else ExitCode.PASS
    raise typer.Exit(ExitCode.FAIL if any(look.written or look.rolled_back_to for look in looks) else code)


@app.command()
def preflight(
    root: Path = ROOT,
    base: str | None = typer.Option(
        None, "--base", metavar="REVISION", help="Revision to compare with; default: the remote's default branch."
    ),
) -> None:
    """Find what would fail in CI, before pushing: lock file, remote, history, params, policy."""
    import datetime as dt

    from weighbridge.ci.preflight import preflight as check
    from weighbridge.core.errors import ExitCode
    from weighbridge.core.git import Git

    checks = check(Git.discover(root), base, dt.datetime.now(dt.UTC).date())
    for item in checks:
        typer.echo(
            f"{'ok     ' if item.problem is None else 'problem'} {item.name}"
            + (f": {item.problem}" if item.problem else "")
        )
    raise typer.Exit(ExitCode.FAIL if any(item.problem for item in checks) else ExitCode.PASS)


@app.command()
def params(files: list[Path] = typer.Argument(..., metavar="FILE", help="params.yaml files.")) -> None:
    """Validate params files, techniques and their values among them: every fault, with its line. For pre-commit."""
    from weighbridge.ci.faults import faults
    from weighbridge.core.errors import ExitCode, InputError

    wrong = False
    for file in files:
        try:
            found = faults(file)
        except InputError as error:
            sys.stderr.write(f"weighbridge: error: {error}\n")
            wrong = True
            continue
        for fault in found:
            sys.stderr.write(f"{fault.text()}\n")
        wrong = wrong or bool(found)
    raise typer.Exit(ExitCode.USAGE if wrong else ExitCode.PASS)


@app.command()
def summary(
    out: Path = typer.Option(..., "--out", metavar="DIR", help="Folder that `weighbridge weigh --out` wrote."),
    code: int = typer.Option(..., "--code", help="The exit code of `weighbridge weigh`."),
) -> None:
    """Say what a stand-alone weighing found: annotations, the job's summary, the step's outputs."""
    from weighbridge.ci.event import this_run
    from weighbridge.ci.sanitize import neutralise
    from weighbridge.ci.standalone_action import annotations_of, read_result

    run = this_run(os.environ)
    result = read_result(out, code)
    if run.annotate:
        for note in annotations_of(result):
            typer.echo(note.command())
    if run.summary is not None:
        _append(run.summary, neutralise(result.report))
    if run.outputs is not None:
        _append(run.outputs, f"verdict={result.verdict}\nreport={out / 'gate.md'}\n")


def _publish_promotions(run: GateRun, found: list[Promoted]) -> None:
    """What became of every project: to the log, as warnings, to the job's summary and the step's outputs."""
    from weighbridge.ci.annotations import Annotation
    from weighbridge.core.escaping import escape

    lines = [item.line() for item in found] or ["nothing was weighed, so nothing is promoted"]
    for line in lines:
        typer.echo(line)
    if run.annotate:
        for item in found:
            if item.warn:
                typer.echo(Annotation("warning", None, 1, f"{item.model}: {item.state}", item.line()).command())
    if run.summary is not None:
        _append(run.summary, "".join(f"- {escape(line)}\n" for line in lines))
    if run.outputs is not None:
        deferred = any(item.state == "deferred" for item in found)
        versions = " ".join(f"{item.model}@{item.version}" for item in found if item.version)
        _append(run.outputs, f"deferred={str(deferred).lower()}\nversions={versions}\n")


def _publish(run: GateRun, judged: list[JudgedProject], report: ChangeReport) -> None:
    """Annotations to the log, the report to the job's summary, the verdict to the step's outputs."""
    from weighbridge.ci.judged import exit_code
    from weighbridge.ci.uploaded_report import shown
    from weighbridge.core.cutting import Room

    if run.annotate:
        for item in judged:
            for note in item.marks:
                typer.echo(note.command())
    if run.summary is not None:
        text = shown(report.projects, Room(LARGEST_SUMMARY, lambda text: len(text.encode())))
        _append(run.summary, text + "\n")
    if run.outputs is not None:
        _append(run.outputs, f"verdict={exit_code(judged).name.lower()}\n")


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _one_line_each(judged: list[JudgedProject]) -> str:
    """Each project's verdict as a line that can be quoted."""
    from weighbridge.cli.console import painted

    return painted("".join(f"gate: {item.quoted}; exit code {item.exit_code.value}\n" for item in judged))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
