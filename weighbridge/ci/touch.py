"""Whether a change can alter what a project builds, weighs or demands: decided by content, never by names.

Both commits are read from Git: nothing is checked out, run or hashed on the disk. What cannot be told from them (a
dependency outside of the repository, one that neither Git nor DVC tracks) counts as touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weighbridge.ci.committed_pipeline import Side, Stage, covers, texts
from weighbridge.ci.governing import attributes_that_change, governing
from weighbridge.core.errors import InputError
from weighbridge.core.facts.governing_files import REGISTRY_POLICY
from weighbridge.core.project import LOCK, PARAMS, PIPELINE, WAIVERS
from weighbridge.core.python_imports import inert

_LONGEST = 400
"""Characters of a text that may be a path."""
_TOKEN = re.compile(r"[A-Za-z0-9_./-]+")


@dataclass(frozen=True)
class Undeclared:
    """A file that a stage's code imports and that the stage does not depend on: DVC would not run it again."""

    stage: str
    path: str
    """From the repository's top."""
    line: str
    """As it has to stand under the stage's `deps`."""
    by: str
    """The file that imports it."""


@dataclass(frozen=True)
class Touch:
    """What of a change concerns one project."""

    reasons: tuple[str, ...]
    """None where nothing does."""
    undeclared: tuple[Undeclared, ...] = ()
    """Those among the changed files that DVC would not notice."""


def touch(base: Side, head: Side) -> Touch:
    """Compare a project at the merge base with the same project at the head."""
    reasons = list(dict.fromkeys(_reasons(base, head)))
    undeclared = tuple(_undeclared(base, head))
    reasons += [f"{item.path} differs" for item in undeclared if f"{item.path} differs" not in reasons]
    return Touch(tuple(reasons), undeclared)


def differences(base: Side, head: Side) -> list[str]:
    """As the reasons of `touch`, without what is wrong with the head's lock file by itself: a lock file that both
    commits lack, or that is stale in both, is no difference between them.
    """
    found = dict.fromkeys(_different(base, head))
    return [*found, *(f"{item.path} differs" for item in _undeclared(base, head))]


def all_undeclared(side: Side) -> list[Undeclared]:
    """Every file that a stage's code imports and that the stage does not depend on."""
    return [
        _missing(side, stage, path, by)
        for stage in side.stages
        for path, by in side.undeclared(stage).items()
        if not _inert(side, path)
    ]


def _inert(side: Side, path: str) -> bool:
    return path.endswith("__init__.py") and inert(side.tree.text(path))


def undeclared_error(found: Sequence[Undeclared], project: str) -> InputError:
    """What to add, in one line."""
    lines = ", ".join(f"`- {item.line}` under the deps of {item.stage}" for item in found[:4])
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return InputError(
        f"{found[0].by} uses {found[0].path}, which differs and is no dependency of the stage {found[0].stage}",
        where=PIPELINE if project == "." else f"{project}/{PIPELINE}",
        fix=f"`weighbridge deps --write` adds {lines}{more}",
    )


def refusal(side: Side) -> InputError | None:
    """Why a project cannot be gated as its commit has it: a link where the gate reads, or a frozen stage."""
    home = "" if side.folder == "." else f"{side.folder}/"
    paths = [f"{home}{name}" for name in (PARAMS, PIPELINE, LOCK, WAIVERS)]
    paths += [path for path in side.tree.under(f"{home}{WAIVERS}") if path.endswith((".yaml", ".yml"))]
    paths += [path for path in side.tree.entries if path.rpartition("/")[2] == REGISTRY_POLICY]
    link = next((link for path in paths if (link := side.tree.links_on(path)) is not None), None)
    if link is not None:
        return InputError("is a symbolic link", where=link, fix="replace it by a plain file")
    frozen = next((stage.name for stage in side.stages if stage.frozen), None)
    if frozen is not None:
        return InputError(
            "is frozen, so that DVC would not run it", where=f"{home}{PIPELINE}: stages.{frozen}", fix="dvc unfreeze"
        )
    return None


def _reasons(base: Side, head: Side) -> Iterator[str]:
    for side in (base, head):
        if side.locked is None:
            yield from _sides(base, head)
            yield f"{LOCK} is not in {side.tree.commit[:12]}"
            return
    yield from _different(base, head)
    yield from _stale(base, head)


def _different(base: Side, head: Side) -> Iterator[str]:
    yield from _sides(base, head)
    yield from _sections(f"{LOCK}: stages", base.locked or {}, head.locked or {})
    yield from _inputs(base, head)
    yield from _governed(base, head)


def _sides(base: Side, head: Side) -> Iterator[str]:
    if base.folder != head.folder:
        yield f"the project has moved from {base.folder} to {head.folder}"
    yield from _sections(PARAMS, base.params, head.params)
    yield from _sections(f"{PIPELINE}: stages", base.pipeline.get("stages", {}), head.pipeline.get("stages", {}))
    if _without(base.pipeline, "stages") != _without(head.pipeline, "stages"):
        yield f"{PIPELINE} differs"


def _governed(base: Side, head: Side) -> Iterator[str]:
    ours, theirs = governing(base.contents, base.folder), governing(head.contents, head.folder)
    for path in sorted({*ours, *theirs}):
        if ours.get(path) != theirs.get(path):
            yield f"{path} differs"
    inputs = [place for name in head.dependencies if (place := head.path(name)) is not None]
    yield from (f"{path} differs" for path in attributes_that_change(base.tree, head.tree, inputs))


def _inputs(base: Side, head: Side) -> Iterator[str]:
    """What goes into the stages: their dependencies, and files that params or commands name."""
    for name in sorted({*base.dependencies, *head.dependencies}):
        before, after = (_word(side, name, set()) for side in (base, head))
        if before is None or after is None:
            yield f"{name} cannot be compared: neither Git nor DVC tracks it in both commits"
        elif before != after:
            yield f"{name} differs"
    templates = {path for side in (base, head) for name in _templates(side) if (path := side.path(name))}
    params = {base.path(PARAMS), head.path(PARAMS)}
    for path in sorted({*_mentioned(base), *_mentioned(head), *templates} - params):
        if base.contents.word(path) != head.contents.word(path):
            yield f"{path} differs"


def _word(side: Side, name: str, seen: set[str]) -> str | None:
    """The content of a dependency; of what another pipeline of the repository makes, what that one depends on."""
    path = side.path(name)
    word = side.contents.word(path)
    if word is not None or path is None:
        return word
    for other in _pipelines(side):
        if other.folder in seen:
            continue
        if any(_within(path, other.path(out)) for out in other.outputs):
            seen.add(other.folder)
            words = [_word(other, dep, seen) for dep in other.dependencies]
            known = [other.pipeline, other.locked, other.params]
            return None if any(found is None for found in words) else repr([known, *words])
    return None


def _pipelines(side: Side) -> Iterator[Side]:
    """The other pipelines of a commit."""
    for path in side.tree.entries:
        folder, _, name = path.rpartition("/")
        if name == PIPELINE and (folder or ".") != side.folder:
            yield Side(side.contents, folder or ".")


def _mentioned(side: Side) -> Iterator[str]:
    """Tracked files that params or the commands of stages name, such as a harness or a script."""
    model = side.params.get("model")
    named = {key: side.params.get(key) for key in ("data", "train", "devices", "recipes", "budgets")}
    files = [model.get(key) for key in ("onnx", "checkpoint")] if isinstance(model, dict) else []
    words = [*texts(files), *texts(named)]
    tokens = [(stage, token) for stage in side.stages for token in _TOKEN.findall(stage.commands)]
    words += [word for stage, token in tokens for word in (token, stage.placed(token))]
    for word in dict.fromkeys(words):
        path = None if len(word) > _LONGEST or "\0" in word else side.path(word)
        if path and path in side.tree.entries:
            yield path


def _templates(side: Side) -> Iterator[str]:
    """Further files of params and variables that `dvc.yaml` names; DVC reads them itself."""
    bodies = side.pipeline.get("stages", {}).values()
    inner = [body.get("do", body) for body in bodies if isinstance(body, dict)]
    lists = [side.pipeline.get("vars"), side.pipeline.get("params")]
    lists += [body.get(key) for body in inner if isinstance(body, dict) for key in ("params", "vars")]
    for value in lists:
        yield from texts(value)
        yield from (str(key) for item in value or [] if isinstance(item, dict) for key in item)


def _undeclared(base: Side, head: Side) -> Iterator[Undeclared]:
    for stage in head.stages:
        for path, by in head.undeclared(stage).items():
            idle = _inert(base, path) and _inert(head, path)
            if not idle and base.contents.word(path) != head.contents.word(path):
                yield _missing(head, stage, path, by)
    known = [stage for stage in head.stages if stage.kind is not None]
    for path in dict.fromkeys(_mentioned(head)):
        own = path in {head.path(name) for name in (PARAMS, PIPELINE, LOCK)}
        if own or base.contents.word(path) == head.contents.word(path):
            continue
        if known and not any(covers(stage, head, path) for stage in head.stages):
            stage = next((stage for stage in known if stage.kind == "weigh"), known[0])
            yield _missing(head, stage, path, PARAMS)


def _missing(side: Side, stage: Stage, path: str, by: str) -> Undeclared:
    return Undeclared(stage.name, path, _seen_from(side.path(stage.placed(".")) or side.folder, path), by)


def _seen_from(folder: str, path: str) -> str:
    """A path from the top as a project names it."""
    if folder == ".":
        return path
    mine, parts = folder.split("/"), path.split("/")
    while mine and parts and mine[0] == parts[0]:
        mine, parts = mine[1:], parts[1:]
    return "/".join([*(".." for _ in mine), *parts])


def _stale(base: Side, side: Side) -> Iterator[str]:
    """What the lock file does not have as this commit has it: the pipeline was not run on it."""
    locked = side.locked or {}
    for stage in side.stages:
        runs = side.runs(stage)
        ours = [name for name in locked if name.partition("@")[0] == stage.name and (runs is None or name in runs)]
        if stage.kind is not None and (not ours or (runs is not None and len(ours) < len(runs))):
            yield f"{LOCK} does not have all of the stage {stage.name}"
        for name in ours:
            yield from _stale_stage(base, side, stage, name)


def _stale_stage(base: Side, side: Side, stage: Stage, name: str) -> Iterator[str]:
    have, before = dict(side.entries(name, "deps")), dict(base.entries(name, "deps"))
    yield from (f"{LOCK} does not have {dep} for the stage {name}" for dep in stage.deps if dep not in have)
    for dep, entry in have.items():
        known = entry.get("md5")
        if entry.get("hash") != "md5" or not isinstance(known, str) or _made_here(side, dep):
            continue
        folder = known.endswith(".dir")
        if folder and entry == before.get(dep) and _word(base, dep, set()) == _word(side, dep, set()):
            continue  # as the merge base has it: a large folder is not read for that
        found = side.contents.folder_md5(side.path(dep)) if folder else side.contents.md5(side.path(dep))
        if found is not None and found != known:
            yield f"{dep} is not the {'folder' if folder else 'file'} that {LOCK} has for the stage {name}"


def _made_here(side: Side, dep: str) -> bool:
    """Whether the project's own stages make a dependency, or something in it: Git has no bytes to compare."""
    return any(dep == out or out.startswith(f"{dep}/") or dep.startswith(f"{out}/") for out in side.outputs)


def _sections(where: str, base: Mapping[str, Any], head: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*base, *head}):
        if base.get(key) != head.get(key) or (key in base) != (key in head):
            yield f"{where}: {key} differs"


def _without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key}


def _within(path: str, out: str | None) -> bool:
    return out is not None and (path == out or path.startswith(f"{out}/") or out.startswith(f"{path}/"))
