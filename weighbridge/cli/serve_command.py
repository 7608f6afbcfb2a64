"""`weighbridge serve`: the versions that a registry's channels name, over the Open Inference Protocol v2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.serve_options import Runs, Treated, Where


@grouped
def serve(
    model: Annotated[str, typer.Argument(help="A model's name.")],
    *,
    registry: Annotated[
        str, typer.Option("--registry", metavar="GIT", help="The registry's repository: URL or folder.")
    ],
    branch: Annotated[str | None, typer.Option("--branch", help="Its branch; default: the remote's.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="The runtime whose artifact is meant, if there are several.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Where the clone, the bytes and the journal are kept.")
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE.jsonl", help="Log sampled requests, as canary judge reads them."),
    ] = None,
    key_header: Annotated[
        str, typer.Option("--key-header", help="Requests with one key meet one version; else the request's id.")
    ] = "x-request-key",
    traces: Annotated[
        str | None, typer.Option("--traces", metavar="URL", help="Send spans there, OTLP over HTTP; else nowhere.")
    ] = None,
    traced: Annotated[
        float, typer.Option("--traced", min=0, max=100, help="Per cent of requests, beside those of sampled traces.")
    ] = 1.0,
    where: Where,
    runs: Runs,
    treated: Treated,
) -> None:
    """Serve a model's stable version, and its canary's share, as the registry moves them."""
    import logging

    from weighbridge.serve.following import Follower, default_folder
    from weighbridge.serve.server import Server

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    follower = Follower(registry, model, cache or default_folder(registry, model), target=target, branch=branch)
    listening, batching, options = where.settings(), runs.settings(), treated.settings()
    Server(follower, listening, batching, options, runs.threads, log, key_header, traces, traced).run()
