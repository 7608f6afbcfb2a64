"""The exact versions that `init` locks: all that the pipeline's packages bring in, as they are installed here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import metadata

from weighbridge.core.errors import StateError

LOCKED = "constraints-weighbridge.txt"
EXTRAS = ("compress", "pipeline")
"""As `requirements-weighbridge.txt` names them."""


def constraints() -> str:
    """The file's text; packages that are not installed here are named in it, and left out.

    Raises `StateError` where this package was not installed by an installer.
    """
    versions, missing = _closure("weighbridge", EXTRAS)
    head = [
        "# The exact versions that the pipeline runs on, as installed where `weighbridge init` ran. Results of",
        "# stages depend on this file. To renew it: upgrade, delete it, run `weighbridge init` again.",
    ]
    absent = [f"# Not installed there, and therefore not locked: {name}" for name in sorted(missing)]
    return "\n".join([*head, *absent, *(f"{name}=={version}" for name, version in sorted(versions.items())), ""])


def _closure(root: str, extras: Iterable[str]) -> tuple[dict[str, str], set[str]]:
    """Package → version of all that a package requires, directly or not, without itself; and what is not installed."""
    versions: dict[str, str] = {}
    missing: set[str] = set()
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
            missing.add(name)
            continue
        # `2.13.0+cpu` is a build of 2.13.0, which indexes of other builds do not have under that name.
        versions[name] = package.version.partition("+")[0]
        waiting += _required(package, wanted)
    if root in missing:
        raise StateError(f"{root} is not installed as a package", fix="pip install it")
    del versions[root]
    return versions, missing


def _required(package: metadata.Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    from packaging.requirements import Requirement  # noqa: PLC0415  # comes with DVC and matplotlib

    for line in package.requires or ():
        requirement = Requirement(line)
        applies = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if applies:
            yield re.sub(r"[-_.]+", "-", requirement.name).lower(), frozenset(requirement.extras)
