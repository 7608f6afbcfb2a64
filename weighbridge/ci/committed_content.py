"""What a path contains in one commit, as a word that differs where the content does.

Git's own blobs, folders, links (followed), submodules (by their commit), what `dvc add` and `dvc import` track (by the
hash in the pointer file), outputs of a pipeline (by its lock file), and the external weights of an ONNX file. What
cannot be told from a commit has no word: None, which the caller has to take for a difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from weighbridge.core.dvc_files import listing_md5
from weighbridge.core.errors import InputError
from weighbridge.core.files import canonical_json
from weighbridge.core.git_tree import LINK, SUBMODULE, Tree, joined
from weighbridge.core.strict_yaml import parse_yaml

_HASHES = ("md5", "etag", "checksum", "version_id", "sha256", "rev_lock")
_LFS = b"version https://git-lfs.github.com/spec/"
_WEIGHTS = (".data", ".bin", ".weights", ".onnx_data", ".onnx.data", "_data")


@dataclass(frozen=True)
class Contents:
    """The contents of one commit."""

    tree: Tree
    _known: dict[str, str | None] = field(default_factory=dict, repr=False, compare=False)

    def word(self, path: str | None) -> str | None:
        """The content of a file or folder, by its path from the repository's top; None where it cannot be told."""
        real = None if path is None else self.tree.follow(path)
        if real is None:
            return None
        if real not in self._known:
            self._known[real] = None  # a folder that links to itself ends here
            self._known[real] = self._found(real)
        return self._known[real]

    def has(self, path: str | None) -> bool:
        """Whether the commit has a file, folder or tracked output at a path."""
        real = None if path is None else self.tree.follow(path)
        if real is None:
            return False
        tracked = real in self.tree.entries or real in self.tree.folders or self.tree.submodule_of(real) is not None
        return tracked or self._pointer(real) is not None

    def md5(self, path: str | None) -> str | None:
        """What DVC would call a file: MD5 of its bytes, or what a pointer says; None where Git cannot tell."""
        real = None if path is None else self.tree.follow(path)
        if real is None:
            return None
        data = self.tree.read(real)
        if data is not None:
            return None if data.startswith(_LFS) else hashlib.md5(data, usedforsecurity=False).hexdigest()
        out = self.pointers.get(real)
        return str(out["md5"]) if out and isinstance(out.get("md5"), str) else None

    def folder_md5(self, path: str | None) -> str | None:
        """What DVC would call a folder in a fresh checkout: MD5 over names and MD5s of its files, without what
        `.dvcignore` names; None where Git cannot tell all of them, as for a link or a folder that a pointer names.
        """
        real = None if path is None else self.tree.follow(path)
        if real is None or real not in self.tree.folders:
            return None
        inside = [*self.tree.under(real), *(name for name in self.pointers if name.startswith(f"{real}/"))]
        kept = not_ignored(self.tree, inside)
        if kept is None or any(self._is_link(name) for name in kept):
            return None
        self.tree.load(kept)
        found = {name.removeprefix(f"{real}/"): self.md5(name) for name in kept}
        known = {name: md5 for name, md5 in found.items() if md5 is not None and not md5.endswith(".dir")}
        return listing_md5(known) if len(known) == len(found) else None

    def _is_link(self, path: str) -> bool:
        entry = self.tree.entries.get(path)
        return entry is not None and entry.mode in (LINK, SUBMODULE)

    @cached_property
    def pointers(self) -> dict[str, dict[str, Any]]:
        """Path → what a `.dvc` file says of it. One that cannot be read is an `InputError`."""
        files = [path for path in self.tree.entries if path.endswith(".dvc") and not path.endswith("/.dvc")]
        self.tree.load(files)
        found = {}
        for file in files:
            for name, out in _outs(self.tree.text(file), file):
                path = joined(file.rpartition("/")[0], name)
                if path is not None:
                    found[path] = out
        return found

    def _found(self, path: str) -> str | None:
        module = self.tree.submodule_of(path)
        if module is not None:
            return f"submodule {self.tree.entries[module].object} {path.removeprefix(module)}"
        entry = self.tree.entries.get(path)
        if entry is not None:
            return self._file(path, entry.object)
        if path in self.tree.folders:
            return self._folder(path)
        return self._pointer(path)

    def _file(self, path: str, blob: str) -> str | None:
        if path.endswith(".dvc"):
            return _word([out for _, out in _outs(self.tree.text(path), path)])
        if not path.endswith(".onnx"):
            return f"blob {blob}"
        places = external_places(self.tree.read(path) or b"", path)
        if places is None:
            return f"blob {blob}"  # no ONNX file: the stage that reads it will say so
        return self._joined(f"onnx {blob}", path, places)

    def _folder(self, path: str) -> str | None:
        parts = [(name, self.word(name)) for name in self.tree.under(path)]
        parts += [(name, _word(out)) for name, out in sorted(self.pointers.items()) if name.startswith(f"{path}/")]
        return None if any(word is None for _, word in parts) else _word([[name, word] for name, word in parts])

    def _pointer(self, path: str) -> str | None:
        """What DVC tracks at a path or around it."""
        around = path
        while around:
            out = self.pointers.get(around)
            if out is not None:
                word = _word(out) if any(out.get(name) for name in _HASHES) else None
                return self._with_weights(word, path) if word and path.endswith(".onnx") else word
            around = around.rpartition("/")[0]
        return None

    def _with_weights(self, word: str, path: str) -> str | None:
        """An ONNX file that is not in Git may keep weights in any file beside it that looks as if it did."""
        folder = path.rpartition("/")[0]
        beside = [*self.tree.under(folder), *self.pointers]
        places = sorted({name for name in beside if name.rpartition("/")[0] == folder and name.endswith(_WEIGHTS)})
        return self._joined(word, path, [name.rpartition("/")[2] for name in places])

    def _joined(self, word: str, path: str, places: Iterable[str]) -> str | None:
        folder = path.rpartition("/")[0]
        found = [[place, self.word(joined(folder, place))] for place in places]
        if any(content is None for _, content in found):
            return None
        return _word([word, *found]) if found else word


def not_ignored(tree: Tree, paths: Iterable[str]) -> list[str] | None:
    """The paths that no `.dvcignore` of the commit names; None where its patterns cannot be read here."""
    files = [path for path in tree.entries if path.rpartition("/")[2] == ".dvcignore"]
    kept = list(paths)
    if not files:
        return kept
    try:
        from pathspec import GitIgnoreSpec  # noqa: PLC0415  # comes with DVC
    except ImportError:
        return None
    for file in files:
        folder = file.removesuffix(".dvcignore")
        spec = GitIgnoreSpec.from_lines((tree.text(file) or "").splitlines())
        kept = [path for path in kept if not (path.startswith(folder) and spec.match_file(path[len(folder) :]))]
    return kept


def external_places(data: bytes, where: str) -> tuple[str, ...] | None:
    """Files beside an ONNX file that hold its weights, by name; None for bytes that are not an ONNX file."""
    if b"location" not in data:
        return ()
    from weighbridge.core.formats.onnx_file import external_names  # noqa: PLC0415  # for the few files that name another

    try:
        return external_names(data, where)
    except InputError:
        return None


def _outs(text: str | None, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The outputs that a `.dvc` file names, each with what identifies its content."""
    content = parse_yaml(text or "", where)
    outs = content.get("outs") if isinstance(content, dict) else None
    if not isinstance(outs, list):
        raise InputError("has no outputs", where=where, fix="write it with `dvc add`")
    deps = content.get("deps") or []
    for out in outs:
        if not isinstance(out, dict) or not isinstance(out.get("path"), str):
            raise InputError("has an output without a path", where=where, fix="write it with `dvc add`")
        said = {name: out[name] for name in (*_HASHES, "files", "cloud") if name in out}
        wdir = content.get("wdir")
        yield (f"{wdir}/{out['path']}" if wdir else out["path"]), {**said, **({"deps": deps} if deps else {})}


def _word(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()
