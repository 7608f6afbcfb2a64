"""What promotion rests on is judged once more: from the measurements, and by the policy that was agreed before.

`reports/verdict.json` is a file like any other. It is believed only where the measurements give the same verdict now;
and a limit that was loosened since the version that is served needs its waiver here as it does in the gate.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from weighbridge.core.documents import GateVerdict, Params
from weighbridge.core.errors import StateError
from weighbridge.core.git import Git
from weighbridge.core.git_tree import Tree
from weighbridge.registry.lifecycle.selection import require_pass
from weighbridge.registry.lookup.resolve import stable_or_none


def judge_again(git: Git, root: Path, recipe: str, today: dt.date | None = None) -> GateVerdict:
    """The verdict on a project that the evidence gives now; refuses a recipe that did not pass.

    Budgets are compared with those at the commit of the stable version, where there is one. Raises `IntegrityError`
    where the stored verdict does not follow from the measurements, `StateError` where the recipe did not pass or a
    policy change is not waived.
    """
    try:
        from weighbridge.gate.stages import summary  # noqa: PLC0415  # needs scipy, which the registry does without
        from weighbridge.gate.stages.identity import before  # noqa: PLC0415
        from weighbridge.gate.stages.merge_base import base_at  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise StateError(
            f"promotion judges the measurements again, and {error.name} is not installed",
            fix="pip install 'weighbridge[judge]'",
        ) from error
    params = Params.read(root / "params.yaml")
    project = root.resolve().relative_to(git.root.resolve()).as_posix()
    served = stable_or_none(git.root, params.model.name)
    base = None
    if served is not None:
        found = before(Tree(git, served.commit), project, params.model.name)
        base = base_at(git, served.commit, found.folder or project, found.changes)
    verdict = summary.check(root, base=base, today=today).verdict
    require_pass(verdict, recipe, params)
    return verdict
