"""What Kubernetes manifests need to know of the channels, and the file that several of them make.

Two files are rendered, to be applied in order: `stable.yaml`, what serves without a canary, and, while there is one,
`canary.yaml`, the same with the canary's share of the traffic. The order matters on a cluster that has never seen
the model: KServe and Argo Rollouts both give the first version that they meet all the traffic, canary or not.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from weighbridge.core.errors import InputError, StateError
from weighbridge.core.facts.isa import Host
from weighbridge.core.files import dump_yaml
from weighbridge.registry.lookup.resolved import require_host
from weighbridge.registry.publish import oci
from weighbridge.registry.publish.model_repository import model_path
from weighbridge.registry.publish.oci_reference import SCHEME, parse_reference
from weighbridge.registry.publish.package import choose
from weighbridge.registry.state.records import Canary, Placed, StoredArtifact, VersionRecord
from weighbridge.registry.state.snapshot import ModelState

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
FILES = ("stable.yaml", "canary.yaml")
"""In the order in which they are to be applied."""
_FIELDS = ("model", "version", "digest", "sha256", "md5", "recipe", "target", "commit", "manifest")
STORE, VOLUME = "/mnt/models", "model"
"""Where the container that serves finds its model, and the volume that an init container puts it on."""


@dataclass(frozen=True)
class Options:
    """What a manifest needs that the registry does not know."""

    storage_uri: str
    """Where the serving system finds a version, with `{model}`, `{version}`, `{digest}`, `{sha256}`, `{md5}`,
    `{recipe}`, `{target}`, `{commit}` and `{manifest}` (the digest in an OCI registry) filled in:
    `s3://models/{model}/{version}`, `oci://host/{model}@{manifest}`."""
    namespace: str | None = None
    name: str | None = None
    """Of the Kubernetes object; None: the model's name as a DNS label."""
    image: str | None = None
    """Of the container that serves (Argo Rollouts)."""
    init_image: str | None = None
    """With weighbridge in it: an init container pulls the version, and the pod starts with the right bytes only."""
    replicas: int = 2
    """Pods of a Rollout; the canary's share is only as fine as their number, unless a mesh splits the traffic."""
    port: int = 8080
    """That the container serves on."""
    target: str | None = None
    """Whose artifact serves, of versions that were built for several runtimes."""
    host: Host | None = None
    """The processors that will serve; None: whatever they have."""


@dataclass(frozen=True)
class Served:
    """One version as a manifest names it."""

    version: str
    digest: str
    uri: str
    target: str
    requires: tuple[str, ...] = ()
    """What a processor must have to answer as it was made to."""


@dataclass(frozen=True)
class Traffic:
    """What shall serve now."""

    name: str
    """Of the Kubernetes object."""
    model: str
    event: int
    """The registry's last event: a manifest with a lower one is older."""
    stable: Served
    canary: Served | None = None
    weight: int | None = None
    """Per cent of the traffic for the canary."""

    @property
    def newest(self) -> Served:
        """The canary, or else the stable version: what the object's template names."""
        return self.canary or self.stable

    def labels(self) -> dict[str, str]:
        """Labels by which the objects are found."""
        return {"app.kubernetes.io/name": self.name, "app.kubernetes.io/managed-by": "weighbridge"}

    def annotations(self) -> dict[str, str]:
        """Which versions and bytes the manifest stands for."""
        notes = {
            "weighbridge/model": self.model,
            "weighbridge/event": str(self.event),
            "weighbridge/stable": self.stable.version,
            "weighbridge/stable-digest": self.stable.digest,
        }
        needs = sorted({name for served in (self.stable, self.canary) if served for name in served.requires})
        if needs:
            notes["weighbridge/requires"] = ",".join(needs)
        if self.canary:
            notes |= {"weighbridge/canary": self.canary.version, "weighbridge/canary-digest": self.canary.digest}
        return notes


Render = Callable[[Traffic, Options], Mapping[str, Any]]


def traffic(state: ModelState, options: Options, *, canary: bool) -> Traffic:
    """What a model's channels say, with the canary or without.

    No stable version is a `StateError`. A share that is no whole per cent, a storage template that names an unknown
    field and a name that Kubernetes does not take are an `InputError`.
    """
    channels = state.channels
    if channels.stable is None or channels.head is None:
        raise StateError(f"{state.name} has no stable version", fix="promote one first")
    running = channels.canary if canary else None
    return Traffic(
        name=_label(options.name or state.name.lower().replace("_", "-")),
        model=state.name,
        event=channels.head.event,
        stable=_served(state, channels.stable, options),
        canary=_served(state, running, options) if running else None,
        weight=_whole(running) if running else None,
    )


def manifests(state: ModelState, options: Options, render: Render) -> dict[str, str]:
    """The files that say what the channels say, by name, in the order in which they are to be applied."""
    files = {FILES[0]: dump_yaml(dict(render(traffic(state, options, canary=False), options)))}
    if state.channels.canary is not None:
        files[FILES[1]] = dump_yaml(dict(render(traffic(state, options, canary=True), options)))
    return files


def metadata(traffic: Traffic, options: Options) -> dict[str, Any]:
    """The `metadata` of a Kubernetes object."""
    found: dict[str, Any] = {"name": traffic.name}
    if options.namespace is not None:
        found["namespace"] = _label(options.namespace)
    return {**found, "labels": traffic.labels(), "annotations": traffic.annotations()}


def _served(state: ModelState, place: Placed, options: Options) -> Served:
    record = state.records[place.version]
    artifact = choose(record, options.target)
    require_host(artifact.requires, options.host, f"{state.name}@{place.version}")
    uri = storage_uri(options.storage_uri, record, artifact)
    return Served(place.version, artifact.digest, uri, artifact.target, tuple(artifact.requires))


def init_container(traffic: Traffic, options: Options) -> dict[str, Any]:
    """An init container that pulls the newest version onto the volume. Bytes of another digest, or a processor that
    lacks what they require, end it, and the pod does not start. A place that no digest confirms is an `InputError`.
    """
    served = traffic.newest
    if not served.uri.startswith(SCHEME) or parse_reference(served.uri).digest is None:
        raise InputError(
            f"{served.uri!r} names no digest that an init container could check",
            where="--storage-uri",
            fix="oci://HOST/{model}@{manifest}, where `registry push` puts it",
        )
    folder = str(PurePosixPath(STORE, model_path(traffic.model, served.target)).parent)
    wherever = [] if options.host is not None else ["--any-host"]
    return {
        "name": "weighbridge-pull",
        "image": options.init_image,
        "args": ["registry", "pull", served.uri, "--model", traffic.model, *wherever, "--out", folder],
        "volumeMounts": [{"name": VOLUME, "mountPath": STORE}],
    }


def storage_uri(template: str, record: VersionRecord, artifact: StoredArtifact, where: str = "--storage-uri") -> str:
    """The template with the facts of a version's artifact in it; a field that there is not is an `InputError`."""
    facts = {
        "model": record.model,
        "version": record.version,
        "digest": artifact.digest,
        "sha256": artifact.digest.removeprefix("sha256:"),
        "md5": artifact.md5,
        "recipe": record.recipe_name,
        "target": artifact.target,
        "commit": record.commit,
        "manifest": oci.manifest_digest(record, artifact),
    }
    known = ", ".join(f"{{{name}}}" for name in _FIELDS)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{template!r} is not a valid template: {error}", where=where, fix=known) from error
    for _, field, form, conversion in parts:
        if field is not None and (field not in facts or form or conversion):
            raise InputError(f"unknown field {{{field}}}", where=where, fix=f"fields: {known}")
    filled = "".join(text + (facts[field] if field is not None else "") for text, field, _, _ in parts)
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s\"'\\]+", filled):
        raise InputError(f"{filled!r} is no URI", where=where, fix="such as s3://models/{model}/{version}")
    return filled


def _whole(canary: Canary) -> int:
    if canary.weight != int(canary.weight):
        raise InputError(
            f"{canary.weight:g}% is not a whole percentage, and Kubernetes accepts whole percentages only",
            fix="use whole steps",
        )
    return int(canary.weight)


def _label(name: str) -> str:
    """An RFC 1123 label, as Kubernetes wants for names."""
    if not _LABEL.fullmatch(name):
        raise InputError(
            f"{name!r} is not a name that Kubernetes takes", fix="--name: lower-case letters, digits and '-'"
        )
    return name
