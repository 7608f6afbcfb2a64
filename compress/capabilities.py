"""What each target can do, told without importing its libraries: what is installed, and what the table refuses.

A recipe asks here before anything runs, and so does `weighbridge targets`, which must answer where nothing is
installed yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.core.facts.targets import TARGETS, TargetFacts


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
    row = TARGETS[target]
    missing = [name for name, version in _needed(row) if version is None]
    if missing:
        raise InputError(
            f"the target {target!r} needs {', '.join(missing)}, which is not installed",
            where=where,
            fix=f"pip install 'weighbridge[{row.extra}]'",
        )
    for complaint in mismatches(target):
        raise InputError(complaint, where=where, fix=f"pip install --upgrade 'weighbridge[{row.extra}]'")


def versions(target: str) -> dict[str, str | None]:
    """Installed version of each distribution of a target, the runtime last; None where it is not installed."""
    row = TARGETS[target]
    return {name: installed(name) for name in dict.fromkeys((*row.converters, row.runtime))}


def _needed(row: TargetFacts) -> Iterator[tuple[str, str | None]]:
    """Without what only quantization-aware training needs: its own step asks for that."""
    return ((name, version) for name, version in versions(row.name).items() if name not in row.training)


def mismatches(target: str) -> list[str]:
    """Pairs of installed libraries of a target where one declares that it does not go with the other, in sentences."""
    from packaging.requirements import Requirement  # noqa: PLC0415  # comes with the runtimes, not with the registry

    found_here = {name: version for name, version in versions(target).items() if version is not None}
    partners = {**found_here, "torch": installed("torch")}
    found = []
    for name, version in found_here.items():
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
    row = TARGETS[target]
    if technique not in row.steps:
        return f"{technique} has no form in files of the target {target}; on those act: {', '.join(row.steps)}"
    if technique != "quantize":
        return None
    if config.scheme not in row.schemes:
        return f"the target {target} has no form of {config.scheme}; it has: {', '.join(row.schemes)}"
    if row.options is None:
        return None
    for key, default in defaults.items():
        if key not in row.options | {"scheme"} and getattr(config, key) != default:
            known = ", ".join(("scheme", *sorted(row.options)))
            return (
                f"{key}: {getattr(config, key)} has no meaning for the target {target}; beside scheme it takes: {known}"
            )
    return None


def describe(isa: list[str]) -> list[dict[str, Any]]:
    """One row a target: whether it can be built and run here, versions, instruction sets, what it can quantize."""
    rows = []
    for name, row in TARGETS.items():
        there = versions(name)
        needed = dict(_needed(row))
        missing = [item for item, version in needed.items() if version is None]
        rows.append(
            {
                "target": name,
                "file": row.file,
                "compress": not missing,
                "weigh": there[row.runtime] is not None,
                "versions": {item: version for item, version in there.items() if version is not None},
                "missing": missing,
                "extra": row.extra,
                "conflicts": [] if missing else mismatches(name),
                "quantizes": list(row.schemes),
                "steps": list(row.steps),
                "isa": isa,
            }
        )
    return rows
