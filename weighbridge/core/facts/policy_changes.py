"""The one table of policy changes: what a change can do to the rules that it is judged by, and what that costs."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from weighbridge.core.errors import InputError

Reaction = Literal["tell", "require-waiver"]
"""`tell`: shown in report and annotations. `require-waiver`: the gate fails until a waiver accepts exactly this."""


@dataclass(frozen=True)
class ChangeKind:
    """One way in which a change alters what decides its verdict."""

    name: str
    meaning: str
    default: Reaction = "require-waiver"


CHANGE_KINDS: dict[str, ChangeKind] = {
    kind.name: kind
    for kind in (
        ChangeKind("loosened", "a limit asks for less"),
        ChangeKind("removed", "a budget or device is gone"),
        ChangeKind("advisory", "a budget is not required any more"),
        ChangeKind("resolution", "a budget's resolution is coarser"),
        ChangeKind("mode", "a budget is about this data set alone"),
        ChangeKind("direction", "a metric of one's own is better the other way round"),
        ChangeKind("device", "a budget is judged on one device alone, or a device is described otherwise"),
        ChangeKind("recipe advisory", "a recipe does not count any more"),
        ChangeKind("recipe removed", "a recipe that counted is gone or renamed"),
        ChangeKind("policy", "the policy itself, here or of the registry, allows more"),
        ChangeKind("policy added", "a policy of the registry stands where there was none", "tell"),
        ChangeKind("project moved", "the project's folder is another one", "tell"),
        ChangeKind("project split", "several projects name one model"),
        ChangeKind("project gone", "a gated project is gated no more"),
        ChangeKind("model renamed", "the model's name is another one"),
        ChangeKind("test examples removed", "the test set lost or replaced examples"),
        ChangeKind("test examples added", "the test set only gained examples", "tell"),
        ChangeKind("test set", "the test set differs, and the examples of the merge base could not be compared"),
        ChangeKind("labels", "examples of the test set have other labels"),
        ChangeKind("slices", "slices of the test set are gone or hold other examples"),
        ChangeKind("calibration", "the calibration data differs", "tell"),
        ChangeKind("baseline", "the baseline that candidates are compared with differs"),
        ChangeKind("baseline rebuilt", "the baseline was built again here from unchanged inputs", "tell"),
        ChangeKind("command", "a stage of the pipeline runs another command or depends on less"),
        ChangeKind("settings", "weighing settings differ"),
        ChangeKind("task", "what quality means, or how inputs are fed, differs"),
        ChangeKind("measured longer", "weighing may take more time or launches", "tell"),
        ChangeKind("workflow", "a workflow that runs the gate differs"),
        ChangeKind("gate code", "the gate's own code or version differs", "tell"),
        ChangeKind("library", "a locked library was downgraded, unpinned, or taken from another source"),
        ChangeKind("custom ops", "a library of custom operators is new or another one"),
        ChangeKind("library upgraded", "a library was upgraded or added", "tell"),
    )
}
EDITS_GATE = frozenset({"workflow", "gate code", "command", "policy"})
"""Kinds that alter the program or pipeline that says pass: such a run is no proof of its own result."""


def find_change_kind(name: str) -> ChangeKind:
    """The kind of that name; an unknown name is an `InputError` with a suggestion."""
    if name in CHANGE_KINDS:
        return CHANGE_KINDS[name]
    close = difflib.get_close_matches(name, CHANGE_KINDS, n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"kinds: {', '.join(CHANGE_KINDS)}"
    raise InputError(f"unknown kind of policy change {name!r}", fix=fix)
