"""What a change does to how its own verdict is made: weighing settings, stages, workflows, policy files.

Pure: the caller reads both sides. Formatting, comments, descriptions and the order of keys are no changes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.core.documents import InputSection, PolicyChange, TaskSection, Weighing
from weighbridge.core.documents.custom_ops import CustomOps
from weighbridge.core.errors import InputError
from weighbridge.core.files import sha256_bytes
from weighbridge.core.strict_yaml import parse_yaml

ABSENT = "absent"
_EFFORT = ("time_limit", "launches")
"""Settings of which more can only decide more."""
_UNREAD = frozenset({"desc", "meta", "metrics", "plots"})
"""Keys of a stage that change nothing of what it runs or makes."""


def setting_changes(base: Weighing, head: Weighing) -> list[PolicyChange]:
    """Every weighing setting that differs; more time and more launches are of a kind of their own.

    What is shown and decides nothing is none.
    """
    found = []
    for name in Weighing.model_fields.keys() - {"sample"}:
        before, after = getattr(base, name), getattr(head, name)
        if before != after:
            kind = "measured longer" if name in _EFFORT and _effort(after) > _effort(before) else "settings"
            shown = [value if isinstance(value, str) else f"{value:g}" for value in (before, after)]
            found.append(PolicyChange(kind=kind, budget=f"weighing.{name}", base=shown[0], head=shown[1], to=shown[1]))
    return found


def _effort(value: float | str) -> float:
    """`auto` is as long as a decision takes."""
    return math.inf if isinstance(value, str) else value


def task_changes(base: TaskSection | None, head: TaskSection | None) -> list[PolicyChange]:
    """Every key of the task that differs: it decides what an answer is, and when two are alike."""
    sides = [{} if task is None else task.model_dump(mode="json", exclude_none=True) for task in (base, head)]
    found = []
    for key in sorted(sides[0].keys() | sides[1].keys()):
        before, after = (str(side.get(key, ABSENT)) for side in sides)
        if before != after:
            found.append(PolicyChange(kind="task", budget=f"task.{key}", base=before, head=after, to=after))
    return found


def input_changes(base: Mapping[str, InputSection], head: Mapping[str, InputSection]) -> list[PolicyChange]:
    """Inputs that are fed otherwise: with another batch axis the examples are others."""
    found = []
    for name in sorted(base.keys() | head.keys()):
        before, after = (_described(side.get(name)) for side in (base, head))
        if before != after:
            found.append(PolicyChange(kind="task", budget=f"inputs.{name}", base=before, head=after, to=after))
    return found


def library_changes(base: Sequence[CustomOps], head: Sequence[CustomOps]) -> list[PolicyChange]:
    """Libraries of custom operators that are new or other ones: code that answers and is timed with a model."""
    before, after = ({item.path: item.sha256 for item in side} for side in (base, head))
    return [
        PolicyChange(kind="custom ops", budget=f"custom_ops {path}", base=before.get(path, ABSENT), head=after[path])
        for path in after
        if after[path] != before.get(path)
    ]


def _described(section: InputSection | None) -> str:
    if section is None:
        return ABSENT
    given = section.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{key} {str(value).lower() if value is True else value}" for key, value in given.items())


def stage_changes(base: str | None, head: str | None, where: str) -> list[PolicyChange]:
    """Stages of `dvc.yaml` that are gone, new, run something else or depend on less. Dependencies added are none.

    `where` names the file in an `InputError` about a text that is no pipeline.
    """
    before, after = _stages(base, where), _stages(head, where)
    found = []
    for name in sorted(before.keys() | after.keys()):
        effect = _stage_effect(name, before.get(name), after.get(name))
        if effect:
            shown = [_commands(side.get(name)) for side in (before, after)]
            to = _digest(after[name]) if name in after else ABSENT
            found.append(
                PolicyChange(kind="command", budget=f"stage {name}", base=shown[0], head=shown[1], to=to, effect=effect)
            )
    return found


def pipeline_digest(text: str, where: str) -> str:
    """SHA-256 over what the stages of `dvc.yaml` run, depend on and make."""
    return _digest(_stages(text, where))


def file_change(kind: str, path: str, base: bytes | None, head: bytes | None) -> PolicyChange | None:
    """One file that decides about the gate, compared by its content: YAML by its values, anything else by its bytes."""
    before, after = content_digest(path, base), content_digest(path, head)
    if before == after:
        return None
    verb = "is new" if before is None else "is gone" if after is None else "differs"
    return PolicyChange(
        kind=kind,
        budget=path,
        base=short(before),
        head=short(after),
        to=after or ABSENT,
        effect=f"{path} {verb}",
    )


def content_digest(path: str, data: bytes | None) -> str | None:
    """SHA-256 over a file's values where it is YAML, over its bytes otherwise; None where there is no file."""
    if data is None:
        return None
    if path.endswith((".yaml", ".yml")):
        try:
            return _digest(parse_yaml(data.decode("utf-8", errors="replace"), path))
        except InputError:
            return sha256_bytes(data)  # not plain values: its bytes are its content
    return sha256_bytes(data)


def short(digest: str | None) -> str:
    """A digest as people compare it."""
    return ABSENT if digest is None else digest.removeprefix("sha256:")[:12]


def _stages(text: str | None, where: str) -> dict[str, dict[str, Any]]:
    """By name: what a stage does, one of a `foreach` or `matrix` as a whole; `vars` stand beside them."""
    if text is None:
        return {}
    content = parse_yaml(text, where)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise InputError("has no stages", where=where)
    found = {str(name): _stage(stage) for name, stage in stages.items()}
    return found | ({"vars": {"vars": content["vars"]}} if content.get("vars") else {})


def _stage(stage: Any) -> dict[str, Any]:
    if not isinstance(stage, dict):
        return {"cmd": stage}
    body = stage.get("do")
    merged = {**stage, **body} if isinstance(body, dict) else stage
    return {str(key): value for key, value in merged.items() if key not in _UNREAD and key != "do"}


def _stage_effect(name: str, base: dict[str, Any] | None, head: dict[str, Any] | None) -> str:
    """What became of one stage, in words; empty where it asks for no less than before."""
    if base is None:
        return f"the pipeline has a new stage {name}"
    if head is None:
        return f"the pipeline has no stage {name} any more"
    said = []
    if base.get("cmd") != head.get("cmd"):
        said.append("runs another command")
    for key, words in (("deps", "depends on"), ("params", "follows the parameters")):
        gone = [item for item in _listed(base.get(key)) if item not in _listed(head.get(key))]
        if gone:
            said.append(f"no longer {words} {', '.join(gone)}")
    others = (base.keys() | head.keys()) - {"cmd", "deps", "params"}
    said += [f"has another `{key}`" for key in sorted(others) if base.get(key) != head.get(key)]
    return f"the stage {name} {' and '.join(said)}" if said else ""


def _listed(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [item if isinstance(item, str) else json.dumps(item, sort_keys=True, default=str) for item in items]


def _commands(stage: Mapping[str, Any] | None) -> str:
    if stage is None:
        return ABSENT
    command = stage.get("cmd", "")
    return "; ".join(map(str, command)) if isinstance(command, list) else str(command)


def _digest(content: Any) -> str:
    return sha256_bytes(json.dumps(_text_keys(content), sort_keys=True, default=str).encode())


def _text_keys(value: Any) -> Any:
    """The same values with keys as text: YAML reads a workflow's `on:` as true, which does not sort among names."""
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return [_text_keys(item) for item in value] if isinstance(value, list) else value
