"""Which bytes in DVC's cache the registry still needs. Only a plan: nothing here deletes.

Needed are the artifacts of every version that may serve again (all but quarantined and deprecated ones, and always
what a channel points to), and everything that the current `dvc.lock` names. A remote that several clones share
needs the union of their answers; DVC's own `gc --cloud` does not know that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.dvc_files import md5s
from weighbridge.core.errors import InputError
from weighbridge.core.files import read_yaml
from weighbridge.core.git import Git
from weighbridge.core.project import LOCK
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.registry.lookup.location import cache_folder
from weighbridge.registry.state.layout import WorkTree, model_names, read_record, require_channels
from weighbridge.registry.state.presence import require_whole


@dataclass(frozen=True)
class Kept:
    """One object of the cache."""

    md5: str
    bytes: int
    keep: bool
    why: str

    def to_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return dict(vars(self))


def plan(root: Path) -> list[Kept]:
    """All objects in DVC's cache, those that could go first, with the reason. A damaged registry is an error:
    nothing may be thought unneeded because a record could not be read.
    """
    needed = {**dict(_locked(root)), **dict(_registered(root))}
    folder = cache_folder(root) / "files" / "md5"
    unlisted = sorted(name for name in needed if name.endswith(".dir") and not _listing(root, name).is_file())
    rows = []
    for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*")):
        name = f"{path.parent.name}{path.name}"
        size = path.stat().st_size
        why = needed.get(name)
        if why is None and unlisted:
            why = f"may be in the folder {unlisted[0]}, whose listing is not here: run `dvc fetch --all-branches`"
        rows.append(Kept(name, size, why is not None, why or "no version that may serve, and no dvc.lock, names it"))
    return sorted(rows, key=lambda row: (row.keep, -row.bytes, row.md5))


def _listing(root: Path, md5: str) -> Path:
    return cache_folder(root) / "files" / "md5" / md5[:2] / md5[2:]


def _registered(root: Path) -> Iterator[tuple[str, str]]:
    view = WorkTree(root)
    names = model_names(root)
    require_whole(root, names)
    for model in names:
        channels = require_channels(view, model)
        serving = {str(channels[name]["version"]) for name in ("stable", "canary", "baseline") if channels.get(name)}
        names = [f"v{n}" for n in range(1, channels["versions"] + 1)]
        names += [f"b{n}" for n in range(1, channels["baselines"] + 1)]
        for name in names:
            retired = name in channels["quarantined"] or name in channels["deprecated"]
            if retired and name not in serving:
                continue
            for artifact in read_record(view, model, name)["artifacts"]:
                yield str(artifact["md5"]), f"{model}@{name}"


def _locked(root: Path) -> Iterator[tuple[str, str]]:
    """Objects that `dvc.lock` names: in the working tree and at the tip of every branch and tag."""
    texts = {LOCK: read_yaml(root / LOCK) if (root / LOCK).exists() else None}
    git = Git(root)
    refs = git.run("for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes", "refs/tags").split()
    for ref in refs:
        data = git.blob(ref, f"{git.prefix()}{LOCK}") if git.commit_of(ref) else None
        if data is not None:
            texts[ref] = _parsed(data, ref)
    for where, content in texts.items():
        for md5 in md5s(content):
            yield md5, f"{LOCK} of {where}" if where != LOCK else where
            if md5.endswith(".dir"):
                yield from ((child, f"{where}: in a folder") for child in _children(root, md5))


def _parsed(data: bytes, ref: str) -> Any:
    return parse_yaml(data.decode("utf-8", errors="replace"), f"{ref}:{LOCK}")


def _children(root: Path, md5: str) -> list[str]:
    """The files of a cached folder; none where the cache does not have its listing (`plan` then keeps all)."""
    listing = _listing(root, md5)
    if not listing.is_file():
        return []
    try:
        return [str(entry["md5"]) for entry in json.loads(listing.read_text())]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("is not a folder's listing", where=str(listing), fix="run `dvc fetch`") from error
