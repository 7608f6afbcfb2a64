"""The files of one commit, read without a checkout: modes, links followed, bytes by one process."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from weighbridge.core.git import Git

LINK = "120000"
SUBMODULE = "160000"
_LONGEST_CHAIN = 40
"""Links followed for one path, as Linux does."""


@dataclass(frozen=True)
class TreeEntry:
    """One path of a commit."""

    mode: str
    object: str
    """The blob's id; of a submodule the commit that it is at."""


@dataclass(frozen=True)
class Tree:
    """All paths of one commit, relative to the repository's top."""

    git: Git
    commit: str
    _read: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def entries(self) -> dict[str, TreeEntry]:
        """Every tracked path, by one process."""
        listing = self.git.run("ls-tree", "-r", "-z", "--full-tree", self.commit)
        found = {}
        for line in listing.split("\0"):
            if line:
                facts, _, path = line.partition("\t")
                mode, _, name = facts.split()
                found[path] = TreeEntry(mode, name)
        return found

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder that has a tracked path below it; the top is the empty string."""
        found = {""}
        for path in self.entries:
            while path := path.rpartition("/")[0]:
                if path in found:
                    break
                found.add(path)
        return frozenset(found)

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.entries)

    def under(self, folder: str) -> Iterator[str]:
        """Tracked paths below a folder, sorted; all of them for the empty string."""
        prefix = f"{folder}/" if folder else ""
        return (path for path in self._sorted if path.startswith(prefix))

    def follow(self, path: str) -> str | None:
        """Where a path leads once every link on its way is followed; None where that is outside, or never ends."""
        rest, done = _parts(path), ""
        for _ in range(_LONGEST_CHAIN):
            found = self._first_link(done, rest)
            if found is None:
                return normal("/".join([done, *rest]) if done else "/".join(rest))
            link, rest = found
            target = self.read(link)
            if target is None or target.startswith(b"/"):
                return None
            place = joined(posixpath.dirname(link), target.decode(errors="surrogateescape"))
            if place is None:
                return None
            done, rest = "", [*_parts(place), *rest]
        return None

    def _first_link(self, done: str, rest: list[str]) -> tuple[str, list[str]] | None:
        """The first link on the way through `rest`, and what comes after it."""
        for position, part in enumerate(rest):
            done = f"{done}/{part}" if done else part
            entry = self.entries.get(done)
            if entry is not None and entry.mode == LINK:
                return done, rest[position + 1 :]
        return None

    def links_on(self, path: str) -> str | None:
        """The first link that a path is, or is reached through; None where there is none."""
        found = self._first_link("", _parts(path))
        return found[0] if found else None

    def submodule_of(self, path: str) -> str | None:
        """The submodule that a path is, or lies in."""
        while path:
            entry = self.entries.get(path)
            if entry is not None and entry.mode == SUBMODULE:
                return path
            path = path.rpartition("/")[0]
        return None

    def read(self, path: str) -> bytes | None:
        """A tracked file's bytes as stored (of a link: its target); None where there is none."""
        entry = self.entries.get(path)
        if entry is None or entry.mode == SUBMODULE:
            return None
        if entry.object not in self._read:
            self._read[entry.object] = self.git.object_bytes(entry.object)
        return self._read[entry.object]

    def load(self, paths: Iterable[str]) -> None:
        """Read several files by one process, so that `read` has them."""
        wanted = {
            entry.object for path in paths if (entry := self.entries.get(path)) is not None and entry.mode != SUBMODULE
        }
        missing = sorted(wanted - self._read.keys())
        self._read.update(zip(missing, self.git.objects(missing), strict=True))

    def text(self, path: str) -> str | None:
        """A tracked file's text, odd bytes replaced; None where there is none."""
        data = self.read(path)
        return None if data is None else data.decode("utf-8", errors="replace")


def normal(path: str) -> str | None:
    """A path relative to the repository's top without `.` and `..`; None where it leaves the repository."""
    if path.startswith("/") or "://" in path:
        return None
    clean = posixpath.normpath(path)
    if clean == "..":
        return None
    return None if clean.startswith("../") else "" if clean == "." else clean


def joined(folder: str, name: str) -> str | None:
    """A name seen from a folder (`.` is the top), as a path from the top; None where it leaves the repository."""
    return normal(
        name if folder in ("", ".") else name if name.startswith("/") or "://" in name else f"{folder}/{name}"
    )


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]
