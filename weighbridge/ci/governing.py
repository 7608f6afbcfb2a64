"""What governs a project besides its stages: waivers, the lock of libraries, workflows, DVC's settings, the policy of
the registry, and the gate's own code where the repository has it. Each by what it says, so that a comment is none.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from weighbridge.ci.committed_content import Contents
from weighbridge.core.errors import InputError
from weighbridge.core.facts.governing_files import REGISTRY_POLICY, decides_libraries, may_run_gate, runs_gate
from weighbridge.core.git_tree import Tree, joined
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.registry.trust.registry_policy import check_written

_DVC = (".dvc/config", ".dvcignore")
"""As files of libraries: in the project's folder, at the repository's top, and in the folders between."""
_GATE = ("weighbridge/__init__.py", "weighbridge/ci/change_gate.py")
_NO_LIBRARY = {
    *("black", "coverage", "flake8", "import-linter", "importlinter", "isort", "mypy", "pydocstyle", "pylint"),
    *("pyright", "pytest", "ruff", "towncrier"),
}
"""Tools that look at code and decide nothing about what it does."""
_INCLUDE = re.compile(r"^(?:-r|-c|--requirement|--constraint)[ =]\s*(\S+)")
_LOCAL = re.compile(
    r"^(?:-e\s+|--editable[ =]\s*)?(?:[\w.\[\],-]+\s*@\s*)?(?:file:)?(\.{0,2}/?[\w./-]*[\w./-])(?:\[.*\])?$"
)
_CHANGE_BYTES = re.compile(r"^[-!]?(text|eol|crlf|filter|ident|working-tree-encoding|binary)\b")


def governing(contents: Contents, folder: str) -> dict[str, str | None]:
    """Path → what it says, of everything that governs the project in a folder; None where that cannot be told."""
    tree = contents.tree
    found: dict[str, str | None] = {}
    for path in _named(tree, folder):
        found[path] = said(path, tree.read(path))
        if _is_requirements(path):
            for other in _included(tree, path, {path}):
                found[other] = said(other, tree.read(other)) if other in tree.entries else contents.word(other)
    for path in _gate(tree):
        found[path] = contents.word(path)
    return found


def check_policies(head: Contents, base: Contents | None) -> None:
    """A policy of the registry that a pull request brings must be one: promotion and rolling back would stop at it."""
    if base is None:
        return  # what is merged is read as it was
    for path in head.tree.entries:
        if path.rpartition("/")[2] != REGISTRY_POLICY or head.tree.links_on(path) is not None:
            continue
        data = head.tree.read(path)
        if data is not None and base.tree.read(path) != data:
            check_written(data, path)


def said(path: str, data: bytes | None) -> str | None:
    """A word for what a file says, comments, order of keys and layout aside."""
    if data is None:
        return None
    text = data.decode("utf-8", errors="surrogateescape")
    name = posixpath.basename(path)
    form: Callable[[str], Any] = str
    if name.endswith((".yml", ".yaml")):
        form = _yaml
    elif name.endswith(".toml"):
        form = _toml
    elif _is_requirements(path) or name in ("config", ".dvcignore", ".python-version", "setup.cfg"):
        form = _lines
    try:
        value = form(text)
    except (InputError, tomllib.TOMLDecodeError):
        value = text
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()


def plain(value: Any) -> Any:
    """A document with keys that can be sorted and values that JSON has."""
    if isinstance(value, dict):
        return {f"{type(key).__name__} {key}": plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else f"{type(value).__name__} {value}"


def attributes_that_change(base: Tree, head: Tree, paths: list[str]) -> list[str]:
    """`.gitattributes` files whose change may give one of these paths other bytes in a checkout."""
    files = {path for tree in (base, head) for path in tree.entries if posixpath.basename(path) == ".gitattributes"}
    return sorted(path for path in files if _attributes_differ(path, base, head, paths))


def _attributes_differ(path: str, base: Tree, head: Tree, paths: list[str]) -> bool:
    lines = [list(_lines(tree.text(path) or "")) for tree in (base, head)]
    if lines[0] == lines[1]:
        return False
    folder = path.rpartition("/")[0]
    inside = [name.removeprefix(f"{folder}/") for name in paths if not folder or name.startswith(f"{folder}/")]
    for line in set(lines[0]) ^ set(lines[1]):
        pattern, *attributes = line.split()
        if not any(_CHANGE_BYTES.match(item) for item in attributes) and not pattern.startswith("[attr]"):
            continue
        if pattern.startswith(("[attr]", '"')) or any(_matches(name, pattern) for name in inside):
            return True
    return False


def _matches(name: str, pattern: str) -> bool:
    if "/" not in pattern.rstrip("/"):
        return any(fnmatchcase(part, pattern.rstrip("/")) for part in name.split("/"))
    bare = pattern.lstrip("/").replace("**/", "*").replace("**", "*")
    return fnmatchcase(name, bare)


def _named(tree: Tree, folder: str) -> Iterator[str]:
    home = "" if folder == "." else folder
    around, start = {""}, home
    while start:
        around.add(start)
        start = start.rpartition("/")[0]
    waivers = f"{home}/waivers/" if home else "waivers/"
    for path in tree.entries:
        place, _, name = path.rpartition("/")
        if name == "config" and place.rpartition("/")[2] == ".dvc":
            place, name = place.rpartition("/")[0], ".dvc/config"
        beside = place in around and (name in _DVC or decides_libraries(name))
        waiver = path.startswith(waivers) and name.endswith((".yaml", ".yml", ".json"))
        workflow = may_run_gate(path) and runs_gate(path, tree.read(path))
        if beside or waiver or workflow or name == REGISTRY_POLICY:
            yield path


def _is_requirements(path: str) -> bool:
    name = posixpath.basename(path)
    return name.endswith((".txt", ".in")) and name.startswith(("requirements", "constraints"))


def _included(tree: Tree, path: str, seen: set[str]) -> Iterator[str]:
    """Other files of the repository that a list of requirements names."""
    folder = posixpath.dirname(path)
    for line in _lines(tree.text(path) or ""):
        include, local = _INCLUDE.match(line), _LOCAL.match(line)
        name = include[1] if include else local[1] if local else None
        other = None if name is None else joined(folder, name)
        if not other or other in seen or (other not in tree.entries and other not in tree.folders):
            continue
        seen.add(other)
        yield other
        if include:
            yield from _included(tree, other, seen)


def _gate(tree: Tree) -> Iterator[str]:
    """The gate's own code, in the repository that has it."""
    if all(name in tree.entries for name in _GATE):
        links = [path for path in tree.under("weighbridge") if tree.entries[path].mode == "120000"]
        for folder in ("weighbridge", *(real for link in links if (real := tree.follow(link)))):
            yield from (path for path in tree.under(folder) if path.endswith(".py"))


def _yaml(text: str) -> Any:
    return parse_yaml(text, "")


def _toml(text: str) -> Any:
    content = tomllib.loads(text)
    tools = {name: value for name, value in content.get("tool", {}).items() if name not in _NO_LIBRARY}
    return {**content, "tool": tools}


def _lines(text: str) -> list[str]:
    lines = (re.sub(r"(^|\s)[#;].*$", "", line).strip() for line in text.splitlines())
    return [line for line in lines if line]
