"""What a change does to the locked libraries, in requirement and lock files. Pure: the caller reads both sides."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.core.documents import PolicyChange
from weighbridge.core.files import sha256_bytes
from weighbridge.gate.verdict.pipeline_changes import ABSENT, short

GATE = "weighbridge"
_SHOWN = 4
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)")
_PIN = re.compile(r"(===?|~=|>=)\s*([0-9][0-9A-Za-z.+!-]*)")
_VERSION = re.compile(r"\d+(\.\d+)*")


def library_change(path: str, base: bytes | None, head: bytes | None) -> PolicyChange | None:
    """One file of libraries: `library upgraded` where each that differs is newer or added, else `library`.

    An upgrade of this program itself is `gate code`. None where both sides ask for the same: comments and order are no
    change.
    """
    if base == head:
        return None
    before, after = _libraries(path, base), _libraries(path, head)
    if before is None or after is None:
        names, changed, upgraded = [], [f"{path} differs"], False
    else:
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        changed = [_shown(name, before.get(name), after.get(name)) for name in names]
        upgraded = base is not None and head is not None and all(_newer(n, before, after) for n in names)
    if not changed:
        return None
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    digests = [None if side is None else sha256_bytes(side) for side in (base, head)]
    return PolicyChange(
        kind="library" if not upgraded else "gate code" if GATE in names else "library upgraded",
        budget=path,
        base=short(digests[0]),
        head=short(digests[1]),
        to=digests[1] or ABSENT,
        effect=", ".join(changed[:_SHOWN]) + more,
    )


@dataclass(frozen=True)
class _Demand:
    """What a file asks of one library."""

    version: str = ""
    """`==1.2`, `>=1`, or whatever stands after the name."""
    conditions: str = ""
    """Markers and the source, where it is not the usual index."""
    hashes: str = ""
    """Of the files that may be installed; others under the same version are another source."""

    def __str__(self) -> str:
        return " ".join(part for part in (self.version, self.conditions) if part) or "any"


def _shown(name: str, before: _Demand | None, after: _Demand | None) -> str:
    if before is None:
        return f"{name} {after} added"
    if after is None:
        return f"{name} {before} removed"
    same = str(before) == str(after)
    return f"{name} {before} has other files" if same else f"{name} {before} → {after}"


def _newer(name: str, base: Mapping[str, _Demand], head: Mapping[str, _Demand]) -> bool:
    """Whether one library's demand is the same with a newer version, or the library was added from the usual index."""
    before, after = base.get(name), head.get(name)
    if after is None or name.startswith("-"):
        return False
    if before is None:
        return not after.version.startswith("@") and not after.conditions.startswith("from ")
    pins = [_PIN.fullmatch(side.version) for side in (before, after)]
    if pins[0] is None or pins[1] is None or pins[0][1] != pins[1][1] or before.conditions != after.conditions:
        return False
    if not all(_VERSION.fullmatch(pin[2]) for pin in pins if pin):
        return False  # pre-releases and local versions: which is newer is not for us to guess
    versions = [[int(part) for part in pin[2].split(".")] for pin in pins if pin]
    return versions[1] > versions[0]


def _libraries(path: str, data: bytes | None) -> dict[str, _Demand] | None:
    """By name: what is asked for. None where the file is of a form that is compared as a whole."""
    if data is None:
        return {}
    name, text = path.rpartition("/")[2], data.decode("utf-8", errors="replace")
    if name.endswith((".txt", ".in")):
        return _requirements(text.splitlines())
    if not name.endswith((".toml", ".lock")) or name in ("Pipfile.lock", "pixi.lock"):
        return None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    return _of_project(content) if name == "pyproject.toml" else _of_lock(content)


def _requirements(lines: list[str]) -> dict[str, _Demand]:
    found: dict[str, _Demand] = {}
    for line in "\n".join(lines).replace("\\\n", " ").split("\n"):
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        match = None if bare.startswith("-") else _REQUIREMENT.fullmatch(bare)
        if bare and match is None:
            found[bare] = _Demand()  # an option such as an index or another file: a demand of its own
        elif match:
            words = match[3].split()
            hashes = " ".join(sorted(word for word in words if word.startswith("--hash=")))
            rest = " ".join(word for word in words if not word.startswith("--hash="))
            version, _, markers = rest.partition(";")
            name = re.sub(r"[-_.]+", "-", match[1]).lower() + (match[2] or "")
            found[name] = _Demand("".join(version.split()), markers.strip(), hashes)
    return found


def _of_project(content: Mapping[str, Any]) -> dict[str, _Demand]:
    project = content.get("project", {})
    lists = [project.get("dependencies", []), content.get("build-system", {}).get("requires", [])]
    lists += project.get("optional-dependencies", {}).values()
    lists += content.get("dependency-groups", {}).values()
    found = _requirements([item for items in lists for item in items if isinstance(item, str)])
    tools = content.get("tool", {})
    for tool in ("uv", "poetry", "pdm", "pixi"):
        if tool in tools:
            found[f"tool.{tool}"] = _Demand(hashes=repr(tools[tool]))
    return found | ({"python": _Demand(project["requires-python"])} if "requires-python" in project else {})


def _of_lock(content: Mapping[str, Any]) -> dict[str, _Demand]:
    """`uv.lock`, `poetry.lock`, `pdm.lock` and PEP 751's `pylock.toml`: a version, its source and its files."""
    found = {}
    for package in content.get("package", content.get("packages", [])):
        source = package.get("source") or package.get("vcs") or package.get("archive") or {}
        usual = source == {"registry": "https://pypi.org/simple"} or not source
        files = [item for key in ("sdist", "wheels", "files") for item in _listed(package.get(key))]
        hashes = sorted(str(item.get("hash") or item.get("hashes")) for item in files if isinstance(item, dict))
        version = f"=={package.get('version', '')}"
        found[str(package.get("name"))] = _Demand(version, "" if usual else f"from {source}", " ".join(hashes))
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
