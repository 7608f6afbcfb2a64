"""Which files of the repository a Python file imports, by its source alone: nothing is run.

It finds what the text names: `import a`, `from . import b`, also inside functions. What only a running stage sees (a
name that is made up at run time) is recorded there instead; see `weighbridge.core.user_code`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from weighbridge.core.git_tree import SUBMODULE, Tree, joined
from weighbridge.core.project import PARAMS
from weighbridge.core.python_imports import imported_names

_OURS = "weighbridge"


@dataclass(frozen=True)
class Search:
    """Where modules are looked for in one commit."""

    tree: Tree
    home: str
    """The project's folder; `.` is the repository's top."""

    def closure(self, files: Iterable[str], modules: Iterable[str]) -> dict[str, str]:
        """Files of the repository that these files and modules import, directly or not → the file that imports each.

        The files themselves are left out; a module's own file counts as imported by `params.yaml`.
        """
        found: dict[str, str] = {}
        waiting = [path for path in files if path.endswith(".py")]
        for module in modules:
            for path in self._files(module, ""):
                found.setdefault(path, PARAMS)
                waiting.append(path)
        seen: set[str] = set()
        while waiting:
            path = waiting.pop()
            real = self.tree.follow(path)
            if real is None or real in seen:
                continue
            seen.add(real)
            for other in self._imported(real):
                found.setdefault(other, path)
                waiting.append(other)
        return found

    def _imported(self, path: str) -> Iterator[str]:
        text = self.tree.text(path)
        if text is None:
            return
        folder = path.rpartition("/")[0]
        for level, name in imported_names(text):
            if level == 0:
                if name.partition(".")[0] == _OURS:
                    continue  # the gate's own package is loaded already, and has a digest of its own
                yield from self._files(name, folder)
                continue
            start = folder
            for _ in range(level - 1):
                start = start.rpartition("/")[0]
            yield from self._below(start, name)

    def _files(self, name: str, folder: str) -> Iterator[str]:
        """Files of a module that is named in full, from the first folder of the search path that has it."""
        for start in self._path(folder):
            found = list(self._below(start, name))
            if found:
                yield from found
                return

    def _path(self, folder: str) -> Iterator[str]:
        """The project first, as the stages have it; then where a changed search path could lead."""
        home = "" if self.home == "." else self.home
        yield home
        while home:
            home = home.rpartition("/")[0]
            yield home
        yield folder
        for source in ("src", "lib"):
            for start in ("" if self.home == "." else self.home, ""):
                yield joined(start, source) or ""

    def _below(self, start: str, name: str) -> Iterator[str]:
        """The files that `import name` runs, packages first, as far as they are found below a folder."""
        place = start
        for part in [part for part in name.split(".") if part]:
            place = f"{place}/{part}" if place else part
            package, module = f"{place}/__init__.py", f"{place}.py"
            for path in (package, module):
                if self._is_file(path):
                    yield path
                    break
            else:
                entry = self.tree.entries.get(place)
                if entry is not None and entry.mode == SUBMODULE:
                    yield place
                    return

    def _is_file(self, path: str) -> bool:
        real = self.tree.follow(path)
        return real is not None and real in self.tree.entries
