"""`weighbridge data propose`: examples that production got wrong, for the next test set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_json
from weighbridge.cli.registry.registry_options import Model, ProjectOptions
from weighbridge.cli.usage import Application
from weighbridge.core.errors import InputError

if TYPE_CHECKING:
    from weighbridge.ci.github import GitHub

app = Application(help="What production teaches the next test set.")


@app.callback()
def _group() -> None:
    """Keeps `propose` a command of a group."""


@dataclass(frozen=True)
class BranchOptions:
    """Where the examples go."""

    file: Annotated[str, typer.Option("--file", metavar="FILE.jsonl", help="The file that they are added to.")] = (
        "data/edge-cases.jsonl"
    )
    branch: Annotated[str, typer.Option("--branch", metavar="NAME", help="The branch that is made.")] = "edge-cases"
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="GIT_REMOTE", help="Push the branch to this git remote.", show_default=False),
    ] = None
    into: Annotated[
        str | None,
        typer.Option(
            "--pull-request",
            metavar="BRANCH",
            help="Open a pull request into this branch on GitHub; reads GITHUB_REPOSITORY and GITHUB_TOKEN.",
            show_default=False,
        ),
    ] = None
    limit: Annotated[int, typer.Option("--limit", min=1, help="Examples at most.")] = 100

    def github(self) -> GitHub | None:
        """The repository to ask, checked before anything is made; None where no pull request is wanted."""
        if self.into is None:
            return None
        if self.push is None:
            raise InputError("needs the branch there", where="--pull-request", fix="--push GIT_REMOTE")
        from weighbridge.ci.github import GitHub

        told = os.environ
        address = told.get("GITHUB_API_URL", "https://api.github.com")
        return GitHub(told.get("GITHUB_REPOSITORY", ""), told.get("GITHUB_TOKEN", ""), address)


@app.command()
@grouped
def propose(
    model: Model,
    *,
    log: Annotated[list[Path], typer.Option("--log", metavar="FILE.jsonl", help="The server's log; repeatable.")],
    journal: Annotated[
        list[Path] | None, typer.Option("--journal", metavar="FILE", help="The server's journal of labels.")
    ] = None,
    place: BranchOptions,
    project: ProjectOptions,
) -> None:
    """Commit what stable answered wrong, the worst slices first, to a branch of its own, and propose it where told to.

    The log needs inputs (`weighbridge serve --log-inputs`) and labels. The working tree stays as it is.
    """
    from datetime import UTC, datetime

    from weighbridge.core.git import Git
    from weighbridge.registry.lookup.resolve import resolve
    from weighbridge.registry.state.layout import model_names
    from weighbridge.registry.watch.edge_cases import edge_cases
    from weighbridge.registry.watch.edge_cases import propose as commit
    from weighbridge.registry.watch.seen_requests import Source, read_requests

    home, github = project.home, place.github()
    version = resolve(home, f"{model}@stable").version
    source = Source(model, log, journal or (), only_model=model_names(home) == [model])
    found = edge_cases(read_requests(source, version, datetime.now(UTC)), place.limit)
    made = commit(Git.discover(home), found, place.file, place.branch, push_to=place.push)
    address = None
    if github is not None and place.into is not None:
        address = github.create_pull_request(made.branch, place.into, made.title, made.why)
    if project.as_json:
        print_json({**vars(made), "pull_request": address})
        return
    typer.echo(f"{made.branch}: {made.examples} examples of {model}@{version} in {made.path} ({made.commit[:12]})")
    if address is not None:
        typer.echo(address)
