"""Which files of a pull request make up the gate that judges it, as GitHub names them: none of it is the run's word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from weighbridge.ci.github import ChangedFile

MOST_FILES = 3000
"""GitHub names no more of a pull request; beyond, what it edits cannot be told."""
_GATE = re.compile(
    r"\.github/(workflows|actions)/.+|action\.ya?ml|\.gitlab-ci\.yml|Jenkinsfile"
    r"|(.+/)?(dvc\.yaml|registry\.policy\.yaml)|(weighbridge|gate)/.+\.py"
)
"""Workflows, the pipeline's commands, the registry's policy, and the gate's own code in the repository that has it."""
_LIBRARIES = re.compile(
    r"(.+/)?((requirements|constraints)[^/]*\.(txt|in)|pyproject\.toml|setup\.(py|cfg)|[^/]*\.lock|pylock[^/]*\.toml"
    r"|environment[^/]*\.ya?ml|conda-lock\.yml)"
)
"""Files that name this program among others: they count where a changed line names it, or cannot be seen."""


def edited_gate(files: Iterable[ChangedFile]) -> list[str]:
    """Files of the gate itself among those that a pull request changes, by their names; sorted."""
    listed = list(files)
    found = {name for file in listed for name in (file.name, file.before) if name is not None and _of_gate(name, file)}
    if len(listed) >= MOST_FILES:
        found.add(f"more than {MOST_FILES - 1:,} files")
    return sorted(found)


def _of_gate(name: str, file: ChangedFile) -> bool:
    if _GATE.fullmatch(name):
        return True
    if not _LIBRARIES.fullmatch(name):
        return False
    if file.patch is None:
        return True
    lines = [line for line in file.patch.splitlines() if line.startswith(("+", "-"))]
    return any("weighbridge" in line.lower() or "index-url" in line for line in lines)
