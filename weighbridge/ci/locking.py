"""The exact versions that `init` locks: of the pipeline all that its packages bring in, as they are installed here; of
promotion those that this version was tested with, since a machine that gates need not have them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from importlib.resources import files
from typing import TYPE_CHECKING

from weighbridge.core.errors import StateError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LOCKED = "constraints-weighbridge.txt"
PROMOTE_LOCKED = "constraints-weighbridge-promote.txt"
EXTRAS = ("compress", "pipeline")
"""As `requirements-weighbridge.txt` names them."""


@dataclass(frozen=True)
class _Installed:
    """What a package requires, directly or not, as it is installed here."""

    versions: dict[str, str] = field(default_factory=dict)
    """Package → version."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Package → why it has no version here that can be locked."""


def constraints() -> str:
    """The file's text; what cannot be locked is named in it.

    Raises `StateError` where this package was not installed by an installer.
    """
    found = _closure("weighbridge", EXTRAS)
    head = [
        "# The exact versions that the pipeline runs on, as installed where `weighbridge init` ran. Results of",
        "# stages depend on this file. To renew it: upgrade, delete it, run `weighbridge init` again.",
    ]
    absent = [f"# Not locked: {name}, {why}" for name, why in sorted(found.left_out.items())]
    lines = [f"{name}=={version}" for name, version in sorted(found.versions.items()) if name not in found.left_out]
    return "\n".join([*head, *absent, *lines, ""])


def promote_constraints() -> str:
    """The text of the file that the promote job installs by."""
    return files("weighbridge.ci").joinpath("templates", "promote-constraints.txt").read_text(encoding="utf-8")


def _closure(root: str, extras: Iterable[str]) -> _Installed:
    found = _Installed()
    waiting = [(root, frozenset(extras))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        name, wanted = item
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            found.left_out[name] = "which is not installed there"
            continue
        # `2.13.0+cpu` is a build of 2.13.0, which indexes of other builds do not have under that name.
        found.versions[name] = package.version.partition("+")[0]
        for requirement in _required(package, wanted):
            other = re.sub(r"[-_.]+", "-", requirement.name).lower()
            waiting.append((other, frozenset(requirement.extras)))
            if not _satisfied(requirement):
                found.left_out[other] = f"whose version there is not the {requirement.specifier} that {name} asks for"
    if root in found.left_out:
        raise StateError(f"{root} is not installed as a package", fix="pip install it")
    del found.versions[root]
    return found


def _satisfied(requirement: Requirement) -> bool:
    """Whether the version that is installed is one that the requirement accepts; true where none is installed."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return True
    return requirement.specifier.contains(version, prereleases=True)


def _required(package: metadata.Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    from packaging.requirements import Requirement  # noqa: PLC0415  # comes with DVC and matplotlib

    for line in package.requires or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement
