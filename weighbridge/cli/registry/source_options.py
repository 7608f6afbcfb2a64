"""Where a version is pulled from, and on which conditions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weighbridge.cli.registry.registry_options import PlainHttp

if TYPE_CHECKING:
    from weighbridge.registry.publish.pull import Carried, DvcRemote, OciSource


@dataclass(frozen=True)
class SourceOptions:
    """Where bytes are taken from, and whose word is taken for them."""

    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="OCI_REFERENCE|FILE",
            help="An OCI reference, or a file of `weighbridge transport pack`, to take the bytes from, instead of DVC.",
            show_default=False,
        ),
    ] = None
    remote: Annotated[
        str | None,
        typer.Option(
            "--dvc-remote",
            metavar="NAME",
            help="The DVC remote to take the bytes from, and no other place.",
            show_default=False,
        ),
    ] = None
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="A registry.policy.yaml whose keys decide, where there is no clone.",
            show_default=False,
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="The model that an OCI reference must contain; default: the repository's last name.",
            show_default=False,
        ),
    ] = None
    seen: Annotated[
        Path | None,
        typer.Option(
            "--seen",
            metavar="FILE",
            help="Where earlier pulls noted what channels named: demands freshness, and refuses to go back.",
            show_default=False,
        ),
    ] = None
    plain_http: PlainHttp = False

    def of_version(self) -> OciSource | Carried | DvcRemote | None:
        """Where a version of this clone's registry comes from; None for the DVC remote that knows it."""
        from weighbridge.core.errors import InputError
        from weighbridge.registry.publish.pull import DvcRemote

        if self.policy is not None:
            raise InputError("the project's own policy decides", where="--policy", fix="leave it out")
        if self.seen is not None:
            raise InputError("the registry's history orders versions already", where="--seen", fix="leave it out")
        if self.model is not None:
            raise InputError("the version's name says the model already", where="--model", fix="leave it out")
        if self.source is not None and self.remote is not None:
            raise InputError(
                "the bytes come from one place", where="--dvc-remote", fix="leave --from or --dvc-remote out"
            )
        if self.source is not None:
            return _place(self.source, plain_http=self.plain_http)
        return DvcRemote(self.remote) if self.remote is not None else None


def _place(text: str, *, plain_http: bool) -> OciSource | Carried:
    """Where `--from` says that bytes are: an OCI repository, or a file under zstd."""
    from weighbridge.core.transport import SUFFIX
    from weighbridge.registry.publish.oci_reference import SCHEME
    from weighbridge.registry.publish.pull import Carried

    if text.endswith(SUFFIX) and not text.startswith(SCHEME):
        return Carried(Path(text))
    return source_of(text, plain_http=plain_http)


def source_of(text: str, *, plain_http: bool) -> OciSource:
    """An OCI repository, with the login that `docker login` left for its host."""
    from weighbridge.registry.publish.credentials import config_path, find
    from weighbridge.registry.publish.distribution import Repository
    from weighbridge.registry.publish.oci_reference import parse_reference
    from weighbridge.registry.publish.pull import OciSource
    from weighbridge.registry.publish.wire import Wire

    reference = parse_reference(text)
    login = find(reference.host, config_path(os.environ))
    return OciSource(reference, Repository(reference, Wire(reference, credentials=login, plain_http=plain_http)))
