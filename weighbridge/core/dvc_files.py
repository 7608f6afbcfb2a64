"""What DVC keeps in files: the lock of a revision, and the bytes in the cache by their md5. Nothing here runs DVC."""

from __future__ import annotations

import configparser
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weighbridge.core.errors import InputError
from weighbridge.core.project import LOCK, RERUN
from weighbridge.core.strict_yaml import parse_yaml

_BLOCK = 1 << 20
MEASUREMENTS = "weighbridge/measurements"
"""In DVC's cache and at the root of its remotes: measurements by their keys, beside DVC's own `files`."""


def measurement_name(key: str) -> str:
    """The file of a measurement in that folder."""
    return f"{key[:2]}/{key[2:]}.json"


@dataclass(frozen=True)
class Lock:
    """The stages of one `dvc.lock`."""

    stages: Mapping[str, Mapping[str, Any]]
    where: str = LOCK

    @classmethod
    def of(cls, content: Any, where: str = LOCK) -> Lock:
        """From the file's content; an `InputError` where it contains no stages."""
        stages = content.get("stages") if isinstance(content, dict) else None
        if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
            raise InputError("contains no stages", where=where, fix=RERUN)
        return cls({str(name): stage for name, stage in stages.items()}, where)

    @classmethod
    def parse(cls, text: str, where: str) -> Lock:
        """Read a lock file's text; what has no stages has an empty lock."""
        content = parse_yaml(text, where)
        stages = content.get("stages") if isinstance(content, dict) else None
        named = stages.items() if isinstance(stages, dict) else ()
        return cls({str(name): stage for name, stage in named if isinstance(stage, dict)}, where)

    def entry(self, path: str) -> Mapping[str, Any] | None:
        """What the lock says of a path: an output first, then what a stage depends on."""
        found = [item for kind in ("outs", "deps") for stage in self.stages.values() for item in _entries(stage, kind)]
        return next((item for item in found if item.get("path") == path), None)

    def md5(self, stage: str, kind: Literal["deps", "outs"], path: str) -> str | None:
        """The md5 that a stage has for a dependency or an output; None where it names none.

        A folder's ends in `.dir`. Raises `InputError` for a list that DVC would not write.
        """
        return self._md5s(stage, kind).get(path)

    def outs(self) -> dict[str, str]:
        """Every output's path → its md5; raises `InputError` for a list that DVC would not write."""
        return {path: md5 for stage in self.stages for path, md5 in self._md5s(stage, "outs").items()}

    def _md5s(self, stage: str, kind: str) -> dict[str, str]:
        items = self.stages.get(stage, {}).get(kind) or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise InputError(f"expected a list of files under stages.{stage}.{kind}", where=self.where, fix=RERUN)
        return {str(item["path"]): str(item["md5"]) for item in items if "path" in item and "md5" in item}

    def inputs(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Of the stages whose name starts so: commands, parameters and dependencies that no stage makes."""
        made = {item.get("path") for stage in self.stages.values() for item in _entries(stage, "outs")}
        return {
            name: (
                stage.get("cmd"),
                stage.get("params"),
                [item for item in _entries(stage, "deps") if not _made(str(item.get("path")), made)],
            )
            for name, stage in self.stages.items()
            if name.partition("@")[0] in names
        }


def md5s(content: Any) -> Iterator[str]:
    """Every md5 in a parsed lock file, of any version of DVC: what must not be collected."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "md5" and isinstance(value, str):
                yield value
            else:
                yield from md5s(value)
    elif isinstance(content, list):
        for item in content:
            yield from md5s(item)


def md5_of(lock: Lock | None, path: str) -> str | None:
    """DVC's digest of a path in a lock; a folder's ends in `.dir`."""
    entry = None if lock is None else lock.entry(path)
    return str(entry["md5"]) if entry is not None and "md5" in entry else None


def file_md5(path: Path) -> str:
    """DVC's digest of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def folder_md5(folder: Path) -> str:
    """DVC's digest of a folder: md5 over the sorted list of its files' names and md5s."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return listing_md5({path.relative_to(folder).as_posix(): file_md5(path) for path in files})


def listing_md5(files: Mapping[str, str]) -> str:
    """DVC's digest of a folder of files: their names from the folder, each with its md5."""
    entries = [{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


@dataclass(frozen=True)
class Cache:
    """DVC's cache on this machine."""

    folder: Path

    @classmethod
    def around(cls, root: Path) -> Cache | None:
        """The cache of the DVC project around a folder; None where there is none."""
        for top in (root.resolve(), *root.resolve().parents):
            if (top / ".dvc").is_dir():
                return cls(_configured(top / ".dvc"))
        return None

    def file(self, md5: str) -> Path | None:
        """The file with that digest, checked against it; None where the cache does not have it."""
        for folder in (self.folder / "files" / "md5", self.folder):
            path = folder / md5[:2] / md5[2:]
            if path.is_file() and file_md5(path) == md5.removesuffix(".dir"):
                return path
        return None

    def listing(self, md5: str) -> dict[str, str] | None:
        """The files of a folder with that digest, by relative path, each with its md5; None where it is not cached."""
        path = self.file(md5)
        if path is None:
            return None
        return {str(item["relpath"]): str(item["md5"]) for item in json.loads(path.read_text(encoding="utf-8"))}


def _configured(dvc: Path) -> Path:
    """The cache's folder as the project's own configuration names it."""
    named = "cache"
    for name in ("config", "config.local"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(dvc / name, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # DVC itself refuses such a file; the cache is then only not found here
        named = parser.get("cache", "dir", fallback=named)
    return dvc / named


def _entries(stage: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    items = stage.get(kind) or []
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _made(path: str, outs: set[Any]) -> bool:
    return any(path == out or path.startswith(f"{out}/") or str(out).startswith(f"{path}/") for out in outs)
