"""`weighbridge registry manifests`: what a cluster applies."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weighbridge.cli.options import grouped
from weighbridge.cli.registry.registry_options import Model, Processor, Root, Target


class Platform(StrEnum):
    """What a manifest is for."""

    KSERVE = "kserve"
    ARGO = "argo"


@dataclass(frozen=True)
class ServiceOptions:
    """The object that serves."""

    image: Annotated[
        str | None,
        typer.Option("--image", metavar="IMAGE", help="Of the container that serves (argo).", show_default=False),
    ] = None
    init_image: Annotated[
        str | None,
        typer.Option(
            "--init-image",
            metavar="IMAGE",
            help="With weighbridge: an init container pulls the version and checks its digest.",
            show_default=False,
        ),
    ] = None
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Of the object; the model's by default.", show_default=False),
    ] = None
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", metavar="NAME", help="Kubernetes namespace.", show_default=False),
    ] = None
    replicas: Annotated[int, typer.Option("--replicas", help="Pods of a Rollout (argo).")] = 2
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="That the container serves on (argo).")] = 8080


@grouped
def manifests(
    *,
    model: Model,
    platform: Platform = typer.Option(..., "--for", help="What the manifests are for."),
    storage_uri: str = typer.Option(
        ...,
        "--storage-uri",
        metavar="URI",
        help="Where `registry push` puts a version: s3://models/{model}/{version}; also {sha256}, {manifest} …",
    ),
    service: ServiceOptions,
    target: Target = None,
    processor: Processor,
    out: Path | None = typer.Option(
        None, "--out", "-o", metavar="DIR", help="A folder for stable.yaml and canary.yaml.", show_default=False
    ),
    root: Root = Path(),
) -> None:
    """Kubernetes manifests that say what the channels say; apply stable.yaml first, then canary.yaml."""
    from weighbridge.registry.publish import argo, kserve, manifests
    from weighbridge.registry.state.layout import WorkTree, home
    from weighbridge.registry.state.snapshot import read_model

    options = manifests.Options(
        storage_uri,
        service.namespace,
        service.name,
        service.image,
        service.init_image,
        service.replicas,
        service.port,
        target,
        processor.host(),
    )
    render = {Platform.KSERVE: kserve.inference_service, Platform.ARGO: argo.rollout}[platform]
    files = manifests.manifests(read_model(WorkTree(home(root)), model), options, render)
    if out is None:
        typer.echo("---\n".join(f"# {file}\n{content}" for file, content in files.items()), nl=False)
    else:
        _write(out, files)


def _write(out: Path, files: dict[str, str]) -> None:
    """The files that there are, and none that there are no longer."""
    from weighbridge.core.files import atomic_write
    from weighbridge.registry.publish import manifests

    for file in manifests.FILES:
        if file in files:
            atomic_write(out / file, files[file].encode())
        else:
            # A canary that has ended must not be applied again from an older run.
            (out / file).unlink(missing_ok=True)
    typer.echo("\n".join(str(out / file) for file in files))
