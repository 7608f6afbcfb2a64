"""What leaves the registry: `weighbridge registry pull|push|card|export|tags|site`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from weighbridge.cli.console import progress
from weighbridge.cli.options import grouped
from weighbridge.cli.registry.output import print_json, write
from weighbridge.cli.registry.promote_options import Signing
from weighbridge.cli.registry.registry_options import (
    Model,
    OutFile,
    PlainHttp,
    Processor,
    ProjectOptions,
    Root,
    Spec,
    Target,
)
from weighbridge.cli.registry.source_options import SourceOptions, source_of
from weighbridge.cli.registry.stating import FreshOptions

if TYPE_CHECKING:
    from weighbridge.registry.publish.pull import OciSource, Wanted


@grouped
def pull(
    *,
    spec: str = typer.Argument(..., help="MODEL@stable|canary|v7|sha256:…, or oci://host/repository@sha256:…"),
    out: Path | None = typer.Option(
        None, "--out", "-o", metavar="DIR", help="The folder to make; MODEL@VERSION by default.", show_default=False
    ),
    place: SourceOptions,
    target: Target = None,
    quarantined: bool = typer.Option(False, "--quarantined", help="Take it even if it is quarantined."),
    processor: Processor,
    project: ProjectOptions,
) -> None:
    """Get a version's bytes, verified by their SHA-256 before they are moved into place."""
    from weighbridge.core.errors import InputError
    from weighbridge.registry.publish import pull as pulling
    from weighbridge.registry.publish.oci_reference import SCHEME

    if spec.startswith(SCHEME):
        if place.source is not None or target is not None or place.remote is not None:
            raise InputError("an OCI reference takes no --from, --dvc-remote or --target")
        source = source_of(spec, plain_http=place.plain_http)
        folder = out or Path(source.reference.repository.rpartition("/")[2])
        terms = pulling.PullTerms(place.policy, place.model, processor.host(), place.seen)
        taken = pulling.pull_reference(source, folder, terms)
    else:
        other = place.of_version()
        wanted = pulling.want(project.home, spec, target=target, quarantined=quarantined, host=processor.host())
        folder = out or Path(f"{wanted.resolved.model}@{wanted.resolved.version}")
        taken = pulling.pull(project.home, wanted, folder, other)
    if project.as_json:
        print_json(taken.to_json())
        return
    typer.echo(f"{taken.model}@{taken.version} {taken.digest}\n{taken.file}\nverified by {taken.trust}")
    if taken.deprecated is not None:
        typer.echo(f"warning: {taken.version} is deprecated: {taken.deprecated}", err=True)


@grouped
def push(
    *,
    spec: Spec,
    place: str = typer.Argument(
        ...,
        metavar="PLACE",
        help="oci://host/repository:tag, s3://bucket/path or file:///folder, with {model}, {version}, {sha256} …",
    ),
    target: Target = None,
    move: bool = typer.Option(False, "--move", help="Let the tag move if it names other content (a channel's tag)."),
    fresh: FreshOptions,
    signing: Signing,
    plain_http: PlainHttp = False,
    project: ProjectOptions,
) -> None:
    """Push a version as an OCI artifact, or into a folder or S3 in the layout that model servers load (NAME/1/FILE)."""
    from weighbridge.core.errors import InputError
    from weighbridge.registry.publish import model_repository, pull
    from weighbridge.registry.publish.manifests import storage_uri
    from weighbridge.registry.publish.oci_reference import SCHEME
    from weighbridge.registry.publish.package import choose

    signing.check()
    wanted = pull.want(project.home, spec, target=target)
    filled = storage_uri(place, wanted.record, choose(wanted.record, wanted.resolved.target), "PLACE")
    if filled.startswith(SCHEME):
        _push_artifact(project, wanted, source_of(filled, plain_http=plain_http), fresh, signing, move=move)
        return
    given = {"--move": move, "--plain-http": plain_http, "--fresh-for": fresh.fresh_for}
    if oci_only := next((option for option, value in given.items() if value), None):
        raise InputError("belongs to an OCI registry", where=oci_only, fix="leave it out")
    with pull.packaged(project.home, wanted) as package:
        published = model_repository.publish(package, filled)
    if project.as_json:
        print_json({"uri": published.uri, "files": published.files, "created": published.created})
        return
    typer.echo(f"{published.uri}{'' if published.created else ' (already there)'}")
    typer.echo("".join(f"  {file}\n" for file in published.files), nl=False)


def _push_artifact(  # what is pushed, where, and how it is stated
    project: ProjectOptions, wanted: Wanted, place: OciSource, fresh: FreshOptions, signing: Signing, *, move: bool
) -> None:
    from weighbridge.core.files import pretty_json, sha256_bytes
    from weighbridge.registry.publish import oci, pull
    from weighbridge.registry.views.bom import bom

    with pull.packaged(project.home, wanted) as package:
        materials = pretty_json(bom(package.record, sha256_bytes(package.record_bytes))).encode()
        stated, at = fresh.state(package, place, wanted.resolved.channel, signing, project.home)
        beside = oci.Beside(materials, stated, at)
        pushed = oci.push(package, place.reference, place.repository, beside=beside, move=move)
    if project.as_json:
        print_json({"reference": str(pushed.reference), "referrers": pushed.referrers, "created": pushed.created})
        return
    typer.echo(f"{pushed.reference}{'' if pushed.created else ' (already there)'}")
    for kind, digest in pushed.referrers.items():
        typer.echo(f"  {kind} {digest}")


@grouped
def card(
    *,
    spec: Spec,
    task: str = typer.Option(
        "other", "--task", metavar="NAME", help="A task of the Hub, such as image-classification."
    ),
    dataset: str | None = typer.Option(
        None, "--dataset", metavar="NAME", help="What the test data is called.", show_default=False
    ),
    out: OutFile = None,
    root: Root = Path(),
) -> None:
    """A version's model card, in Hugging Face's metadata form."""
    from weighbridge.registry.lookup.resolve import resolve_all
    from weighbridge.registry.state.layout import WorkTree, home
    from weighbridge.registry.state.snapshot import read_model
    from weighbridge.registry.views.card import CardContext
    from weighbridge.registry.views.card import card as make

    top = home(root)
    found = resolve_all(top, spec)[0]
    state = read_model(WorkTree(top), found.model)
    context = CardContext(task=task, dataset=dataset, status=state.status(found.version))
    write(make(state.records[found.version], context), out)


@grouped
def export(*, spec: Spec, out: OutFile = None, root: Root = Path()) -> None:
    """A version's bill of materials: CycloneDX 1.6 JSON."""
    from weighbridge.core.files import pretty_json, sha256_bytes
    from weighbridge.registry.publish.pull import want
    from weighbridge.registry.state.layout import home
    from weighbridge.registry.views.bom import bom

    wanted = want(home(root), spec, quarantined=True)
    write(pretty_json(bom(wanted.record, sha256_bytes(wanted.record_bytes))), out)


@grouped
def tags(
    *,
    model: Model,
    check: bool = typer.Option(False, "--check", help="Write nothing; fail where the tags are not the history's."),
    push_to: str | None = typer.Option(
        None, "--push", metavar="GIT_REMOTE", help="Push the tags to this git remote, all or none.", show_default=False
    ),
    project: ProjectOptions,
) -> None:
    """Write the annotated tags that GTO and DVC Studio read (`model@v7.0.0#1`, `model#stable#2`), or check them."""
    from weighbridge.core.errors import InputError
    from weighbridge.registry.publish import tags as bridge

    if check and push_to is not None:
        raise InputError("--check writes nothing, so there is nothing to --push")
    compared = bridge.compare(project.home, model)[1] if check else bridge.write(project.home, model, push=push_to)
    if project.as_json:
        print_json(compared.to_json())
    elif not check:
        typer.echo(f"{model}: {len(compared.missing)} tags written, {len(compared.expected)} in all")
    if check:
        compared.require_same()
        if not project.as_json:
            typer.echo(f"{model}: {len(compared.expected)} tags, all as the history requires")


@grouped
def site(
    *,
    out: Path = typer.Argument(..., metavar="DIR", help="The folder to make, or an earlier site to replace."),
    metrics: str | None = typer.Option(
        None,
        "--metrics",
        metavar="prometheus=URL",
        help="A Prometheus that readers' browsers reach: their pages show what is so now.",
        show_default=False,
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress."),
    project: ProjectOptions,
) -> None:
    """Write a static site of the registry: models, versions, channels, history, charts, cards."""
    from weighbridge.registry.site.build import build
    from weighbridge.registry.site.live_queries import prometheus_url

    address = prometheus_url(metrics) if metrics is not None else None
    with progress(quiet=quiet) as report:
        built = build(project.home, out, report=report, metrics=address)
    if project.as_json:
        print_json({**vars(built), "folder": str(built.folder)})
    else:
        counts = {"page": built.pages, "model": built.models, "version": built.versions}
        said = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
        typer.echo(f"{said}: {out / 'index.html'}")
