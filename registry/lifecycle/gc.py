"""Which bytes in DVC's cache the registry still needs. Only a plan: nothing here deletes.

Needed are the artifacts of every version that may serve again (all but quarantined and deprecated ones, and always
what a channel points to), and everything that a `dvc.lock` or `.dvc` file of any project names, at any ref. A remote
that several clones share needs the union of their answers; DVC's own `gc --cloud` does not know that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.dvc_files import md5s
from weighbridge.core.errors import InputError
from weighbridge.core.files import read_bytes, sha256_bytes
from weighbridge.core.git import Git
from weighbridge.core.project import LOCK
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.registry.lookup.asking import CannotAskError
from weighbridge.registry.lookup.dvc_remotes import list_objects
from weighbridge.registry.lookup.location import cache_folder, local_remote
from weighbridge.registry.state.layout import WorkTree, model_names, read_record, require_channels
from weighbridge.registry.state.presence import require_whole

_NAMED = (LOCK, "*.dvc")
_ENDINGS = (f"/{LOCK}", ".dvc", LOCK)
_REFS = ("refs/heads", "refs/remotes", "refs/tags", "refs/stash", "refs/exps")


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


def plan(root: Path, *, remote: bool = False) -> list[Kept]:
    """All objects in DVC's cache, those that could go first, with the reason; with `remote` those of the default DVC
    remote, of any kind. A damaged registry is an error: nothing may be thought unneeded because a record
    could not be read.
    """
    needed = {**dict(_locked(root)), **dict(_registered(root))}
    held = _remote_objects(root) if remote else _objects_in(cache_folder(root))
    unlisted = sorted(name for name in needed if name.endswith(".dir") and not _listing(root, name).is_file())
    rows = []
    for name, size in sorted(held.items()):
        why = needed.get(name)
        if why is None and unlisted:
            why = f"may be in the folder {unlisted[0]}, whose listing is not here: run `dvc fetch --all-branches`"
        rows.append(Kept(name, size, why is not None, why or "no version that may serve, and no dvc.lock, names it"))
    return sorted(rows, key=lambda row: (row.keep, -row.bytes, row.md5))


def _remote_objects(root: Path) -> dict[str, int]:
    folder = local_remote(root)
    if folder is None:
        return list_objects(root)
    if not folder.is_dir():
        raise CannotAskError(f"the DVC remote {str(folder)!r} could not be asked: folder not found")
    return _objects_in(folder)


def _objects_in(folder: Path) -> dict[str, int]:
    found = (folder / "files" / "md5").glob("[0-9a-f][0-9a-f]/*")
    return {f"{path.parent.name}{path.name}": path.stat().st_size for path in found}


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
                if artifact.get("weights"):
                    yield str(artifact["weights"]["md5"]), f"{model}@{name}"


def _locked(root: Path) -> Iterator[tuple[str, str]]:
    """Objects that any `dvc.lock` or `.dvc` file names: in the working tree, and in what every ref points to.

    Refs are branches, remote ones, tags, the stash and DVC's experiments.
    """
    seen: set[str] = set()
    for where, data in (*_files_here(root), *_files_in_refs(root)):
        if (known := sha256_bytes(data)) in seen:
            continue
        seen.add(known)
        for md5 in md5s(parse_yaml(data.decode("utf-8", errors="replace"), where)):
            yield md5, where
            if md5.endswith(".dir"):
                yield from ((child, f"{where}: in a folder") for child in _children(root, md5))


def _files_here(root: Path) -> Iterator[tuple[str, bytes]]:
    listing = Git(root).run("ls-files", "-z", "--cached", "--others", "--", *(f":(glob)**/{name}" for name in _NAMED))
    for name in dict.fromkeys(listing.split("\0")):
        if name and (root / name).is_file() and not name.startswith(".dvc/"):
            yield name, read_bytes(root / name)


def _files_in_refs(root: Path) -> Iterator[tuple[str, bytes]]:
    git = Git(root)
    refs = git.run("for-each-ref", "--format=%(refname)", *_REFS).split()
    blobs: dict[str, str] = {}
    trees: set[str] = set()
    for ref in refs:
        tree = git.attempt("rev-parse", "--verify", "--quiet", f"{ref}^{{tree}}").stdout.strip()
        if not tree or tree in trees:
            continue
        trees.add(tree)
        for line in git.run("ls-tree", "-r", "-z", "--full-tree", tree).split("\0"):
            facts, _, path = line.partition("\t")
            if path.endswith(_ENDINGS) and facts.startswith("100"):
                blobs.setdefault(facts.split()[2], f"{path} of {ref}")
    yield from zip(blobs.values(), git.objects(list(blobs)), strict=True)


def _children(root: Path, md5: str) -> list[str]:
    """The files of a cached folder; none where the cache does not have its listing (`plan` then keeps all)."""
    listing = _listing(root, md5)
    if not listing.is_file():
        return []
    try:
        return [str(entry["md5"]) for entry in json.loads(listing.read_text())]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("is not a folder's listing", where=str(listing), fix="run `dvc fetch`") from error
