"""What each target can do, told without importing its libraries: the literal table, and what is refused by it.

A recipe asks here before anything runs, and so does `weighbridge targets`, which must answer where nothing is
installed yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from weighbridge.core.errors import InputError


@dataclass(frozen=True)
class Capability:
    """What one target needs, and what its files can hold."""

    target: str
    file: str
    """The artifact's file name."""
    extra: str
    """Of this program's own distribution: `pip install 'weighbridge[<extra>]'`."""
    converters: tuple[str, ...]
    """Distributions that make the file."""
    runtime: str
    """The distribution that runs it."""
    steps: tuple[str, ...]
    """Techniques that can act on its file."""
    schemes: tuple[str, ...]
    """Schemes of `quantize` that it has a form of."""
    options: frozenset[str] | None = None
    """Keys of `quantize` that mean something to it besides `scheme`; all where it is None."""

    def versions(self) -> dict[str, str | None]:
        """Installed version of each distribution, the runtime last; None where it is not there."""
        return {name: installed(name) for name in dict.fromkeys((*self.converters, self.runtime))}


CAPABILITIES: dict[str, Capability] = {
    "onnxruntime": Capability(
        target="onnxruntime",
        file="model.onnx",
        extra="compress",
        converters=("torch", "onnxscript"),
        runtime="onnxruntime",
        steps=("pack", "quantize", "share"),
        schemes=("fp16", "dynamic-int8", "static-int8", "qat-int8", "weight-fp16", "weight-int8", "weight-int4"),
    ),
    "litert": Capability(
        target="litert",
        file="model.tflite",
        extra="litert",
        converters=("litert-torch", "ai-edge-quantizer", "torchao", "executorch"),
        runtime="ai-edge-litert",
        steps=("quantize",),
        schemes=("fp16", "dynamic-int8", "static-int8", "qat-int8", "weight-fp16", "weight-int8", "weight-int4"),
        options=frozenset({"agreement", "finetune", "keep"}),
    ),
    "executorch": Capability(
        target="executorch",
        file="model.pte",
        extra="executorch",
        converters=("executorch", "torchao"),
        runtime="executorch",
        steps=("quantize",),
        schemes=("static-int8", "qat-int8"),
        options=frozenset({"agreement", "finetune", "keep"}),
    ),
}
"""Every target that an artifact can be built for."""


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def require(target: str, where: str) -> None:
    """Refuse a target whose libraries are missing, or were installed in versions that do not go together.

    Raises `InputError` that names the extra, or both versions of a converter and what it needs.
    """
    capability = CAPABILITIES[target]
    missing = [name for name, version in _needed(capability) if version is None]
    if missing:
        raise InputError(
            f"the target {target!r} needs {', '.join(missing)}, which is not installed",
            where=where,
            fix=f"pip install 'weighbridge[{capability.extra}]'",
        )
    for complaint in mismatches(target):
        raise InputError(complaint, where=where, fix=f"pip install --upgrade 'weighbridge[{capability.extra}]'")


def _needed(capability: Capability) -> Iterator[tuple[str, str | None]]:
    """Without what quantization-aware training alone needs: its own step asks for that."""
    trained = {"torchao", "executorch"} if capability.target == "litert" else set()
    return ((name, version) for name, version in capability.versions().items() if name not in trained)


def mismatches(target: str) -> list[str]:
    """Pairs of installed libraries of a target where one declares that it does not go with the other, in sentences."""
    from packaging.requirements import Requirement  # noqa: PLC0415  # comes with the runtimes, not with the registry

    versions = {name: version for name, version in CAPABILITIES[target].versions().items() if version is not None}
    partners = {**versions, "torch": installed("torch")}
    found = []
    for name, version in versions.items():
        for line in metadata.requires(name) or []:
            wanted = Requirement(line)
            other = partners.get(wanted.name.lower().replace("_", "-"))
            if other is None or (wanted.marker is not None and not wanted.marker.evaluate()):
                continue
            if not wanted.specifier.contains(other, prereleases=True):
                found.append(f"{name} {version} goes with {wanted.name} {wanted.specifier}; {other} is installed")
    return found


def refusal(target: str, technique: str, config: Any, defaults: Mapping[str, Any]) -> str | None:
    """Why a step that acts on files cannot act on this target's, and what it could; None where it can.

    `defaults` are the values of the config's fields where nobody set them: an option at its default asks for nothing.
    """
    capability = CAPABILITIES[target]
    if technique not in capability.steps:
        return f"{technique} has no form in files of the target {target}; on those act: {', '.join(capability.steps)}"
    if technique != "quantize":
        return None
    if config.scheme not in capability.schemes:
        return f"the target {target} has no form of {config.scheme}; it has: {', '.join(capability.schemes)}"
    if capability.options is None:
        return None
    for key, default in defaults.items():
        if key not in capability.options | {"scheme"} and getattr(config, key) != default:
            known = ", ".join(("scheme", *sorted(capability.options)))
            return (
                f"{key}: {getattr(config, key)} has no meaning for the target {target}; beside scheme it takes: {known}"
            )
    return None


def describe(isa: list[str]) -> list[dict[str, Any]]:
    """One row a target: whether it can be built and run here, versions, instruction sets, what it can quantize."""
    rows = []
    for name, capability in CAPABILITIES.items():
        versions = capability.versions()
        needed = dict(_needed(capability))
        missing = [item for item, version in needed.items() if version is None]
        rows.append(
            {
                "target": name,
                "file": capability.file,
                "compress": not missing,
                "weigh": versions[capability.runtime] is not None,
                "versions": {item: version for item, version in versions.items() if version is not None},
                "missing": missing,
                "extra": capability.extra,
                "conflicts": [] if missing else mismatches(name),
                "quantizes": list(capability.schemes),
                "steps": list(capability.steps),
                "isa": isa,
            }
        )
    return rows
