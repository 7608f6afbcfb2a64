"""What a lever is, and the few edits that many of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Edit = Callable[[Path], None]
"""Changes the files of a repository; the benchmark commits."""


def nothing(_: Path) -> None:
    """The template as it is."""


@dataclass(frozen=True)
class Lever:
    """One way to change what the gate judges or how."""

    name: str
    change: Edit
    says: str
    """A regular expression that the gate's output has to match: a code alone could come from anything."""
    codes: tuple[int, ...] = (3,)
    """Exit codes that count as seen. 3: the project is gated, and the stand-in for DVC goes no further."""
    base: Edit = nothing
    """What the merge base has beyond the template."""
    judged: bool = False
    """Judge what the template measured, by `weighbridge gate --base`, instead of deciding what to gate."""


def gated(name: str, change: Edit, says: str, base: Edit = nothing) -> Lever:
    """Must be gated, for the reason that `says` matches."""
    return Lever(name, change, f"is gated: .*{says}", base=base)


def refused(name: str, change: Edit, says: str, base: Edit = nothing) -> Lever:
    """Must end with exit code 2 and one line that matches `says`."""
    return Lever(name, change, says, (2,), base)


def write(path: str, text: str) -> Edit:
    """Write a file, its folders made."""

    def edit(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return edit


def replace(path: str, old: str, new: str) -> Edit:
    """Replace a text that has to be there."""

    def edit(root: Path) -> None:
        text = (root / path).read_text()
        if old not in text:
            raise SystemExit(f"{path} does not have {old!r}: the lever pulls at nothing")
        (root / path).write_text(text.replace(old, new))

    return edit


def delete(*paths: str) -> Edit:
    """Delete files."""

    def edit(root: Path) -> None:
        for path in paths:
            (root / path).unlink()

    return edit


def link(path: str, target: str) -> Edit:
    """Put a symbolic link in the place of whatever is there."""

    def edit(root: Path) -> None:
        place = root / path
        if place.is_file() or place.is_symlink():
            place.unlink()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    return edit


def document(path: str, act: Callable[[Any], Any]) -> Edit:
    """Change a YAML file by its content; `act` may return another content."""

    def edit(root: Path) -> None:
        content = yaml.safe_load((root / path).read_text())
        changed = act(content)
        (root / path).write_text(yaml.safe_dump(content if changed is None else changed, sort_keys=False))

    return edit


def both(*edits: Edit) -> Edit:
    """One after the other."""

    def edit(root: Path) -> None:
        for one in edits:
            one(root)

    return edit


def depends(stage: str, *paths: str) -> Edit:
    """Add dependencies to a stage in `dvc.yaml` and, as a run would, to the lock file."""

    def edit(root: Path) -> None:
        document("dvc.yaml", lambda content: _body(content, stage).setdefault("deps", []).extend(paths))(root)
        relock(root)

    return edit


def relock(root: Path) -> None:
    """Bring the dependencies of `dvc.lock` to what a run on the files as they are would leave; outputs stay."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"]

    def act(content: Any) -> None:
        for name, locked in content["stages"].items():
            deps = _body({"stages": stages}, name.partition("@")[0]).get("deps", [])
            if not deps:
                continue
            known = {entry["path"]: entry for entry in locked.get("deps", [])}
            plain = [dep for dep in deps if "${" not in dep]
            names = dict.fromkeys([*known, *plain])
            locked["deps"] = [_entry(root, path, known.get(path)) for path in names]

    document("dvc.lock", act)(root)


def _entry(root: Path, path: str, known: dict[str, Any] | None) -> dict[str, Any]:
    place = root / path
    if path.startswith("artifacts") or path == "measurements":
        return known or {"path": path}
    if place.is_file():
        data = place.read_bytes()
        return {
            "path": path,
            "hash": "md5",
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "size": len(data),
        }
    return {"path": path, "hash": "md5", "md5": f"{'0' * 32}.dir"}


def _body(content: dict[str, Any], stage: str) -> dict[str, Any]:
    body: dict[str, Any] = content["stages"][stage]
    inner: dict[str, Any] = body.get("do", body)
    return inner


def stage(name: str, act: Callable[[dict[str, Any]], Any]) -> Edit:
    """Change one stage of `dvc.yaml`."""

    def change(content: Any) -> None:
        act(_body(content, name))

    return document("dvc.yaml", change)
