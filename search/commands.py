"""What `weighbridge search` does besides searching: show, stop, write to a branch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weighbridge.core.documents import parse_quantity
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import atomic_write, pretty_json, read_json
from weighbridge.core.formatting import quantity
from weighbridge.core.git import Git
from weighbridge.core.project import PARAMS
from weighbridge.search.advise import flow
from weighbridge.search.front.results import write_recipes


def journal_of(folder: Path) -> Path:
    """The journal of a search; a `StateError` where there is none."""
    path = folder / "journal.log"
    if not path.is_file():
        raise StateError("journal not found", where=str(path), fix="weighbridge search")
    return path


def results_of(folder: Path) -> Path:
    """What a search wrote last; a `StateError` where there is nothing yet."""
    journal_of(folder)
    path = folder / "results.json"
    if not path.is_file():
        raise StateError("the search has not come to results yet", where=str(path), fix="weighbridge search resume")
    return path


def stop(folder: Path) -> str:
    """Ask a running search to end after its present step."""
    journal_of(folder)
    atomic_write(folder / "stop", b"")
    return "The search ends after its present step; everything is kept."


def seconds_of(text: str) -> float:
    """The value of `--time` in seconds, above zero; an `InputError` where it is no time with its unit."""
    try:
        seconds = parse_quantity(text, "seconds", needs_unit=True)
    except ValueError as error:
        raise InputError(str(error), where="--time") from error
    if seconds <= 0:
        raise InputError("expected a time above zero", where="--time")
    return seconds


def show(folder: Path, *, as_json: bool = False) -> str:
    """The last results of a search, for a terminal or as JSON."""
    found = read_json(results_of(folder))
    if as_json:
        return pretty_json(found)
    trials = {item["number"]: item for item in found["trials"]}
    lines = []
    for item in found["confirmed"]:
        last = trials[item["number"]]["rungs"][-1]
        held = "confirmed" if item["holds"] else f"not confirmed: {item['reason']}"
        ratio = "" if item["ratio"] is None else f", latency {quantity(item['ratio'], 'ratio')}"
        drop = quantity(item["drop"], "points")
        lines.append(f"trial {item['number']}: {quantity(last['bytes'], 'bytes')}{ratio}, {drop} lost; {held}")
    for name, section in found["recipes"].items():
        lines += [f"{name}:", *(f"  - {line}" for line in flow(section["steps"]))]
    lines.append(f"{len(trials)} recipes tried, {len(found['failed'])} failed; the journal is in {folder}.")
    return "\n".join(lines)


def check_branch(root: Path, branch: str | None) -> None:
    """Refuse a branch that cannot be made, before hours of searching."""
    if branch is None:
        return
    git = Git.discover(root)
    if git.attempt("check-ref-format", "--branch", branch).returncode:
        raise InputError(f"{branch!r} is not a branch name", where="--branch")
    if git.commit_of(f"refs/heads/{branch}") is not None:
        raise InputError(f"the branch {branch!r} exists already", where="--branch", fix="give another name")
    if git.dirty(PARAMS):
        raise StateError("has changes that are not committed", where=str(root / PARAMS), fix="commit them first")


def write(root: Path, chosen: Mapping[str, Mapping[str, Any]], branch: str | None) -> list[str]:
    """Add recipes to `params.yaml`, on a new branch where one is named; what was done, in sentences."""
    if branch is None:
        names = write_recipes(root, chosen)
        return [f"Added to {root / PARAMS}: {', '.join(names)}. `dvc repro` builds and weighs them."]
    git = Git.discover(root)
    git.run("switch", "-q", "-c", branch)
    names = write_recipes(root, chosen)
    git.run("commit", "-q", "-m", f"recipes: add {', '.join(names)}", "--", str((root / PARAMS).resolve()))
    return [f"Committed on the branch {branch}: {', '.join(names)}."]


__all__ = ["check_branch", "journal_of", "results_of", "seconds_of", "show", "stop", "write"]
