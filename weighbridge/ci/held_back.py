"""A recipe that passed in a project that did not: it is not promoted, and that is said."""

from __future__ import annotations

from weighbridge.ci.annotations import Annotation
from weighbridge.core.documents import GateVerdict, Verdict
from weighbridge.registry.lifecycle.selection import passing


def held_back(verdict: GateVerdict, file: str, line: int) -> list[Annotation]:
    """A warning that names the recipes which passed, where the project as a whole did not; none where it passed."""
    names = passing(verdict)
    if verdict.verdict is Verdict.PASS or not names:
        return []
    others = sorted({item.recipe or name for name, item in verdict.recipes.items()} - set(names))
    because = f"{', '.join(others)} did not" if others else "the change of policy did not"
    message = f"{', '.join(names)} passed and {because}: nothing of {verdict.model} is promoted while that stands"
    return [Annotation("warning", file, line, f"{verdict.model}: passed, not promoted", message)]
