"""Requests worth keeping for the next test set, and the branch that proposes them.

What was answered wrong, by a label that came late: the slices with the lowest accuracy first, and in each the most
confident errors first. Inputs are needed, which the server logs only with `--log-inputs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import canonical_json, sha256_bytes
from weighbridge.core.git import Git
from weighbridge.registry.state import commit as commits
from weighbridge.registry.state.layout import safe_relative
from weighbridge.registry.watch.seen_requests import Seen


@dataclass(frozen=True)
class EdgeCase:
    """One example for the next test set."""

    digest: str
    """Of its inputs: the same inputs are proposed once."""
    inputs: Any
    label: str
    prediction: str
    confidence: float | None
    slices: tuple[str, ...]
    seen: str

    def line(self) -> str:
        """As the proposed file has it."""
        return json.dumps(vars(self), sort_keys=True) + "\n"


@dataclass(frozen=True)
class Proposal:
    """A branch that adds examples."""

    branch: str
    commit: str
    path: str
    examples: int
    why: str
    """In a sentence, slices named."""

    @property
    def title(self) -> str:
        """Of the commit, and of a pull request."""
        return f"data: add {self.examples} edge cases from production"


def edge_cases(requests: Iterable[Seen], limit: int) -> list[EdgeCase]:
    """At most `limit` of them. No labelled error is an empty list; errors without inputs are a `StateError`."""
    seen = list(requests)
    accuracy = _accuracy(seen)
    wrong = [request for request in seen if request.right is False]
    with_inputs = [request for request in wrong if request.inputs is not None]
    if wrong and not with_inputs:
        raise StateError(
            f"{len(wrong)} answers were wrong, and the log has no inputs of them", fix="weighbridge serve --log-inputs"
        )
    with_inputs.sort(key=lambda r: (min((accuracy[s] for s in r.slices), default=1.0), -(r.confidence or 0.0)))
    found: dict[str, EdgeCase] = {}
    for request in with_inputs:
        digest = sha256_bytes(canonical_json(request.inputs))
        if digest not in found and len(found) < limit:
            found[digest] = EdgeCase(
                digest,
                request.inputs,
                str(request.label),
                str(request.prediction),
                request.confidence,
                request.slices,
                request.time.isoformat(),
            )
    return list(found.values())


def _accuracy(requests: Iterable[Seen]) -> dict[str, float]:
    counted: dict[str, list[int]] = {}
    for request in requests:
        for name in request.slices:
            entry = counted.setdefault(name, [0, 0])
            entry[0] += request.right is not None
            entry[1] += bool(request.right)
    return {name: right / n if n else 1.0 for name, (n, right) in counted.items()}


def propose(git: Git, found: list[EdgeCase], path: str, branch: str, *, push_to: str | None = None) -> Proposal:
    """Commit the examples that the file at HEAD lacks to a new branch, without touching the working tree.

    Nothing new, and a branch that exists, are a `StateError`. With `push_to`, the branch is pushed to that remote.
    """
    if not safe_relative(path) or not path.endswith(".jsonl"):
        raise InputError(f"{path!r} is not a .jsonl path within the repository", where="--file")
    if git.attempt("check-ref-format", "--branch", branch).returncode != 0:
        raise InputError(f"{branch!r} is not the name of a branch", where="--branch")
    if git.commit_of(f"refs/heads/{branch}") is not None:
        raise StateError(f"the branch {branch} exists already", fix="--branch NAME")
    base = git.head()
    there = git.blob(base, path) or b""
    known = {json.loads(line)["digest"] for line in there.decode().splitlines() if line.strip()}
    new = [case for case in found if case.digest not in known]
    if not new:
        raise StateError(f"no wrong answer that {path} does not have already", fix="wait for labels")
    content = there + "".join(case.line() for case in new).encode()
    slices = ", ".join(sorted({name for case in new for name in case.slices})) or "none"
    why = f"Answered wrong, by labels that came late. Slices: {slices}."
    made = Proposal(branch, "", path, len(new), why)
    commit = commits.build(git, base, {path: content}, f"{made.title}\n\n{why}\n", replaces=path)
    git.run("branch", "--no-track", branch, commit)
    if push_to is not None:
        done = git.attempt("push", "--quiet", push_to, f"refs/heads/{branch}")
        if done.returncode != 0:
            raise StateError(
                f"the branch was made, and not pushed: {done.stderr.strip().splitlines()[-1]}", where=push_to
            )
    return replace(made, commit=commit)
