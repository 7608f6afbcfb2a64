"""A project's pipeline as one commit has it: its params, stages, lock file, and what each stage depends on."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from weighbridge.ci.committed_content import Contents
from weighbridge.ci.imports import Search
from weighbridge.core.dvc_files import Lock
from weighbridge.core.git_tree import Tree, joined
from weighbridge.core.project import COMMAND, LOCK, PARAMS, PIPELINE, without_anchors
from weighbridge.core.strict_yaml import parse_yaml

_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_CODE_OF_MODEL = ("train", "baseline", "compress")


@dataclass(frozen=True)
class Stage:
    """One stage of `dvc.yaml`; a `foreach` counts as one."""

    name: str
    kind: str | None
    """Of `weighbridge stage KIND`; None for a command of somebody else."""
    commands: str
    deps: tuple[str, ...]
    """Relative to the project's folder, without those that a template decides."""
    frozen: bool
    each: Any
    """What a `foreach` runs over, as written; None for a stage that runs once."""
    wdir: str | None = None
    """The folder that it runs in, seen from the project's; None for the project's own."""

    def placed(self, path: str) -> str:
        """A path as the stage or its lock names it, seen from the project's folder."""
        return path if self.wdir is None else posixpath.normpath(posixpath.join(self.wdir, path))


@dataclass(frozen=True)
class Side:
    """One project at one commit."""

    contents: Contents
    folder: str
    """Relative to the repository's top; `.` is the top."""

    @property
    def tree(self) -> Tree:
        """The commit's files."""
        return self.contents.tree

    def path(self, name: str) -> str | None:
        """A name seen from the project, as a path from the top; None where it leaves the repository."""
        return joined(self.folder, name)

    def document(self, name: str) -> Any:
        """A YAML file of the project; None where the commit does not have it."""
        path = self.path(name)
        text = None if path is None else self.tree.text(path)
        return None if text is None else parse_yaml(text, f"{path} at {self.tree.commit[:12]}")

    @cached_property
    def params(self) -> dict[str, Any]:
        """`params.yaml` without the keys that only keep anchors."""
        content = self.document(PARAMS)
        if not isinstance(content, dict):
            return {}
        return without_anchors(content)

    @cached_property
    def pipeline(self) -> dict[str, Any]:
        """`dvc.yaml` without what only people read."""
        content = self.document(PIPELINE)
        if not isinstance(content, dict):
            return {}
        stages = content.get("stages")
        bare = {str(k): v for k, v in content.items() if k not in ("stages", "plots", "metrics", "artifacts")}
        return {**bare, "stages": {str(k): _bare(v) for k, v in stages.items()} if isinstance(stages, dict) else {}}

    @cached_property
    def locked(self) -> Mapping[str, Mapping[str, Any]] | None:
        """The stages of `dvc.lock`; None where there is no such file."""
        content = self.document(LOCK)
        return None if content is None else Lock.of(content, self.path(LOCK) or LOCK).stages

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of `dvc.yaml`, in order."""
        return tuple(_stage(name, body) for name, body in self.pipeline["stages"].items()) if self.pipeline else ()

    def entries(self, name: str, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The paths that the lock has under `deps` or `outs` of one run of a stage, seen from the project's folder,
        each with what the lock says of it.
        """
        stage = next((stage for stage in self.stages if stage.name == name.partition("@")[0]), None)
        for path, entry in entries((self.locked or {}).get(name, {}), kind):
            yield (path if stage is None else stage.placed(path)), entry

    def runs(self, stage: Stage) -> frozenset[str] | None:
        """The names that a stage has in the lock file; None where a template of another form decides."""
        if stage.each is None:
            return frozenset({stage.name})
        each = stage.each
        if isinstance(each, str) and (template := re.fullmatch(r"\$\{([\w.-]+)\}", each)):
            each = _at(self.params, *template[1].split("."))
        if not isinstance(each, (dict, list)) or any(isinstance(item, (dict, list)) for item in each):
            return None
        return frozenset(f"{stage.name}@{item}" for item in each)

    def prepared(self) -> dict[str, Mapping[str, Any]]:
        """What the lock says of the stages that prepare data: their name → the entry."""
        names = {stage.name for stage in self.stages if stage.kind == "prepare"}
        return {name: entry for name, entry in (self.locked or {}).items() if name in names}

    @cached_property
    def dependencies(self) -> tuple[str, ...]:
        """What any stage depends on, by `dvc.yaml` or by the lock, without what the project's own stages make."""
        names = {dep for stage in self.stages for dep in stage.deps}
        names |= {path for name in self.locked or {} for path, _ in self.entries(name, "deps")}
        names |= {self.shared_budgets} if self.shared_budgets is not None else set()
        made = self.outputs
        return tuple(sorted(name for name in names if not any(_overlap(name, out) for out in made)))

    @cached_property
    def outputs(self) -> frozenset[str]:
        """What the project's own stages make, by `dvc.yaml` and by the lock."""
        found = {path for name in self.locked or {} for path, _ in self.entries(name, "outs")}
        for stage, body in zip(self.stages, (self.pipeline.get("stages") or {}).values(), strict=True):
            inner = body.get("do", body) if isinstance(body, dict) else {}
            for kind in ("outs", "metrics", "plots"):
                for out in (inner.get(kind) or []) if isinstance(inner, dict) else []:
                    name = next(iter(out), None) if isinstance(out, dict) else out
                    if isinstance(name, str) and (fixed := name.partition("${")[0].rstrip("/")):
                        found.add(stage.placed(fixed))
        return frozenset(found)

    def imported(self, stage: Stage) -> dict[str, str]:
        """Files that the code of a stage imports → what imports each; paths from the top. By the sources alone."""
        search = Search(self.tree, self.folder)
        files = [path for dep in stage.deps if (path := self.path(dep)) is not None]
        return search.closure(files, self._modules(stage))

    def undeclared(self, stage: Stage) -> dict[str, str]:
        """Those among `imported` that no dependency of the stage covers → what imports each."""
        covered = [real for dep in stage.deps if (path := self.path(dep)) and (real := self.tree.follow(path))]
        found = {}
        for path, by in self.imported(stage).items():
            real = self.tree.follow(path)
            if real is not None and not any(_overlap(real, other) for other in covered):
                found[path] = by
        return found

    @property
    def shared_budgets(self) -> str | None:
        """The file that the project takes budgets from, as params name it; None where it has its own."""
        source = _at(self.params, "budgets", "from")
        return source if isinstance(source, str) else None

    def _budgets(self) -> Iterator[dict[str, Any]]:
        """Every budget as written: common, shared, and of single recipes."""
        common, shared = self.params.get("budgets"), self.shared_budgets
        lists = [common, _at(common, "override")]
        lists += [_at(self.document(shared), "budgets")] if shared is not None else []
        recipes = self.params.get("recipes")
        lists += [_at(recipe, "budgets") for recipe in recipes.values()] if isinstance(recipes, dict) else []
        for found in lists:
            yield from (item for item in found or [] if isinstance(found, list) and isinstance(item, dict))

    def _modules(self, stage: Stage) -> list[str]:
        """Modules that `params.yaml` has a stage import."""
        params, named = self.params, []
        budgets = list(self._budgets())
        if stage.kind == "prepare":
            named = [_at(params, "data", "factory")]
        elif stage.kind in _CODE_OF_MODEL:
            named = [*texts(params.get("model")), *texts(params.get("train")), *texts(params.get("task"))]
            named += [text for text in texts(params.get("recipes")) if stage.kind == "compress"]
        elif stage.kind == "weigh":
            named = [*(item.get("metric") for item in budgets), *texts(params.get("task"))]
            if any(item.get("metric") == "latency.end_to_end" for item in budgets):
                named.append(_at(params, "data", "factory"))
        return [text.partition(":")[0] for text in named if isinstance(text, str) and _CALLABLE.fullmatch(text)]


def entries(stage: Mapping[str, Any], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The paths that a stage of a lock file has under `deps` or `outs`, each with what the lock says of it."""
    for entry in stage.get(kind) or []:
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            yield entry["path"], entry


def texts(value: Any) -> Iterator[str]:
    """Every text in a document, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def covers(stage: Stage, side: Side, path: str) -> bool:
    """Whether a stage depends on a path from the top, or on a folder around it."""
    real = side.tree.follow(path)
    for dep in stage.deps:
        found = side.path(dep)
        other = None if found is None else side.tree.follow(found)
        if real is not None and other is not None and _overlap(real, other):
            return True
    return False


def _stage(name: str, body: Any) -> Stage:
    inner = body.get("do", body) if isinstance(body, dict) else {}
    inner = inner if isinstance(inner, dict) else {}
    each = body.get("foreach", body.get("matrix")) if isinstance(body, dict) else None
    command = inner.get("cmd")
    commands = "\n".join(str(line) for line in command) if isinstance(command, list) else str(command or "")
    kind = COMMAND.search(commands)
    wdir = inner.get("wdir")
    deps = [dep for dep in inner.get("deps") or [] if isinstance(dep, str) and "${" not in dep]
    found = Stage(
        name,
        kind["kind"] if kind else None,
        commands,
        (),
        bool(inner.get("frozen")),
        each,
        wdir if isinstance(wdir, str) else None,
    )
    return replace(found, deps=tuple(found.placed(dep) for dep in deps))


def _bare(stage: Any) -> Any:
    if not isinstance(stage, dict):
        return stage
    return {key: _bare(value) if key == "do" else value for key, value in stage.items() if key not in ("desc", "meta")}


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _overlap(path: str, other: str) -> bool:
    """Whether one is the other, or lies in it. Of a submodule only its own path is known."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")
