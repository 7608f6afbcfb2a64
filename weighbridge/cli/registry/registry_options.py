"""Options that the registry's commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from weighbridge.core.facts.isa import Host
    from weighbridge.registry.lifecycle.operate import Operator
    from weighbridge.registry.state.tip import Settings

Model = Annotated[str, typer.Argument(help="A model's name.")]
Version = Annotated[str, typer.Argument(help="A version, such as v7.")]
Spec = Annotated[str, typer.Argument(help="MODEL@stable|canary|baseline|v7|sha256:…|TIME, or MODEL for stable.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stays in the history.")]
Expect = Annotated[
    str | None,
    typer.Option("--expect", metavar="VERSION", help="Refuse unless this version is stable now (`none`: nothing)."),
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="TARGET", help="The runtime whose artifact is meant, if there are several."),
]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="Speak HTTP without TLS to the OCI registry.")]
OutFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Write to a file instead of the terminal.", show_default=False),
]
Root = Annotated[Path, typer.Option("--root", metavar="DIR", help="A folder of the repository.", show_default=False)]


@dataclass(frozen=True)
class ProjectOptions:
    """Which project, and how to print."""

    root: Root = Path()
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False

    @property
    def home(self) -> Path:
        """The folder that carries the registry: found from any folder of the repository, as git finds its own."""
        from weighbridge.registry.state.layout import MODELS, home

        top = home(self.root)
        if not (top / MODELS).is_dir():
            from weighbridge.registry.state.presence import require_place

            require_place(top, [])
        return top


@dataclass(frozen=True)
class Processor:
    """Which processor will run what is asked for."""

    isa: Annotated[
        str | None,
        typer.Option(
            "--isa",
            help="The processor that will run it, by its instruction sets (avx2,avx512_vnni) or as arm64; "
            "default: this host's.",
            show_default=False,
        ),
    ] = None
    any_host: Annotated[bool, typer.Option("--any-host", help="Whatever the processor has.")] = False

    def host(self) -> Host | None:
        """The processor; None where any will do."""
        from weighbridge.core.errors import InputError
        from weighbridge.core.facts.isa import named_host, this_host

        if self.isa is not None and self.any_host:
            raise InputError("names a processor, and --any-host takes any", where="--isa", fix="leave one of them out")
        if self.any_host:
            return None
        return this_host() if self.isa is None else named_host(self.isa)


@dataclass(frozen=True)
class ChangeOptions:
    """How a change of the registry is made."""

    no_push: Annotated[bool, typer.Option("--no-push", help="Change the local branch only, for a pull request.")] = (
        False
    )
    remote: Annotated[
        str | None,
        typer.Option(
            "--remote",
            metavar="GIT_REMOTE",
            help="The git remote that holds the registry; default: the branch's own.",
            show_default=False,
        ),
    ] = None

    def settings(self) -> Settings:
        """For the store."""
        from weighbridge.registry.state.tip import Settings

        return Settings(push=not self.no_push, remote=self.remote)

    def operator(self, project: ProjectOptions, model: str) -> Operator:
        """Who changes the channels of a model."""
        from weighbridge.registry.lifecycle.operate import Operator

        return Operator(project.home, model, self.settings())
