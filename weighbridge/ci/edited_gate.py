"""Which files of a pull request make up the gate that judges it, as GitHub names them: none of it is the run's word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from weighbridge.ci.github import ChangedFile
from weighbridge.core.facts.governing_files import REGISTRY_POLICY, decides_libraries, may_run_gate

MOST_FILES = 3000
"""GitHub names no more of a pull request; beyond, what it edits cannot be told."""
_GATE = re.compile(r"(.+/)?dvc\.yaml|(weighbridge|gate)/.+\.py")
"""The pipeline's commands, and the gate's own code in the repository that has it."""


def edited_gate(files: Iterable[ChangedFile]) -> list[str]:
    """Files of the gate itself among those that a pull request changes, by their names; sorted."""
    listed = list(files)
    found = {name for file in listed for name in (file.name, file.before) if name is not None and _of_gate(name, file)}
    if len(listed) >= MOST_FILES:
        found.add(f"more than {MOST_FILES - 1:,} files")
    return sorted(found)


def _of_gate(name: str, file: ChangedFile) -> bool:
    base = name.rpartition("/")[2]
    if _GATE.fullmatch(name) or may_run_gate(name) or base == REGISTRY_POLICY:
        return True
    # Files of libraries name this program among others: they count where a changed line names it, or cannot be seen.
    if not decides_libraries(base):
        return False
    if file.patch is None:
        return True
    lines = [line for line in file.patch.splitlines() if line.startswith(("+", "-"))]
    return any("weighbridge" in line.lower() or "index-url" in line for line in lines)
