"""The files of a working tree, with the same questions as those of a commit: tracked, or new and not ignored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from weighbridge.core.git_tree import LINK, SUBMODULE, Tree, TreeEntry


@dataclass(frozen=True)
class Checkout(Tree):
    """As `Tree`; `commit` only says what it is called in messages."""

    @cached_property
    def entries(self) -> dict[str, TreeEntry]:
        """Paths that Git tracks or would add; an entry's object is its path."""
        listing = self.git.run("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--full-name", ":/")
        found = {}
        for name in sorted(set(listing.split("\0")) - {""}):
            path = self.git.root / name
            if path.is_symlink():
                found[name] = TreeEntry(LINK, name)
            elif path.is_dir():
                found[name.rstrip("/")] = TreeEntry(SUBMODULE, name)
            elif path.exists():
                found[name] = TreeEntry("100644", name)
        return found

    def read(self, path: str) -> bytes | None:
        """See `Tree.read`."""
        entry = self.entries.get(path)
        if entry is None or entry.mode == SUBMODULE:
            return None
        place = self.git.root / path
        return os.fsencode(place.readlink()) if entry.mode == LINK else place.read_bytes()
