"""The libraries that requirement, project and lock files demand, read without installing any."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)")
PIN = re.compile(r"(===?|~=|>=)\s*([0-9][0-9A-Za-z.+!-]*)")


@dataclass(frozen=True)
class Demand:
    """What a file asks of one library."""

    version: str = ""
    """`==1.2`, `>=1`, or whatever stands after the name."""
    conditions: str = ""
    """Markers and the source, where it is not the usual index."""
    hashes: str = ""
    """Of the files that may be installed; others under the same version are another source."""

    def __str__(self) -> str:
        return " ".join(part for part in (self.version, self.conditions) if part) or "any"


def libraries(path: str, data: bytes | None) -> dict[str, Demand] | None:
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


def _requirements(lines: list[str]) -> dict[str, Demand]:
    found: dict[str, Demand] = {}
    for line in "\n".join(lines).replace("\\\n", " ").split("\n"):
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        match = None if bare.startswith("-") else _REQUIREMENT.fullmatch(bare)
        if bare and match is None:
            found[bare] = Demand()  # an option such as an index or another file: a demand of its own
        elif match:
            words = match[3].split()
            hashes = " ".join(sorted(word for word in words if word.startswith("--hash=")))
            rest = " ".join(word for word in words if not word.startswith("--hash="))
            version, _, markers = rest.partition(";")
            name = re.sub(r"[-_.]+", "-", match[1]).lower() + (match[2] or "")
            found[name] = Demand("".join(version.split()), markers.strip(), hashes)
    return found


def _of_project(content: Mapping[str, Any]) -> dict[str, Demand]:
    project = content.get("project", {})
    lists = [project.get("dependencies", []), content.get("build-system", {}).get("requires", [])]
    lists += project.get("optional-dependencies", {}).values()
    lists += content.get("dependency-groups", {}).values()
    found = _requirements([item for items in lists for item in items if isinstance(item, str)])
    tools = content.get("tool", {})
    for tool in ("uv", "poetry", "pdm", "pixi"):
        if tool in tools:
            found[f"tool.{tool}"] = Demand(hashes=repr(tools[tool]))
    return found | ({"python": Demand(project["requires-python"])} if "requires-python" in project else {})


def _of_lock(content: Mapping[str, Any]) -> dict[str, Demand]:
    """`uv.lock`, `poetry.lock`, `pdm.lock` and PEP 751's `pylock.toml`: a version, its source and its files."""
    found = {}
    for package in content.get("package", content.get("packages", [])):
        source = package.get("source") or package.get("vcs") or package.get("archive") or {}
        usual = source == {"registry": "https://pypi.org/simple"} or not source
        files = [item for key in ("sdist", "wheels", "files") for item in _listed(package.get(key))]
        hashes = sorted(str(item.get("hash") or item.get("hashes")) for item in files if isinstance(item, dict))
        version = f"=={package.get('version', '')}"
        found[str(package.get("name"))] = Demand(version, "" if usual else f"from {source}", " ".join(hashes))
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
