"""What the gate passed → the registry: bytes shared, record signed, pushed on whatever the branch's tip is by then."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weighbridge.ci.evidence_bundle import EvidenceBundle, inside, outputs, require_whole, unpack
from weighbridge.ci.judging_again import judge_again
from weighbridge.ci.newer import catch_up, outdated
from weighbridge.ci.sharing import share
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import read_bytes
from weighbridge.core.git import Git
from weighbridge.core.project import LOCK
from weighbridge.registry.lifecycle.evidence import gather
from weighbridge.registry.lifecycle.promote import AnotherStableError, Handed, PromotionRequest, promote
from weighbridge.registry.lifecycle.selection import first_verdict, passing, ranked, read_verdict
from weighbridge.registry.lifecycle.waiting import Standing, standing
from weighbridge.registry.state import commit as commits
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.signing import PrivateKey, Signer, load_private_key

State = Literal["stable", "canary", "recorded", "nothing", "deferred"]
_ATTEMPTS = 60
"""How often the tip may move while a promotion is built on it."""
_STATES: dict[EventKind, State] = {EventKind.PROMOTED: "stable", EventKind.CANARY_STARTED: "canary"}


@dataclass(frozen=True)
class Promoted:
    """What became of one project's evidence."""

    model: str
    recipe: str
    version: str | None
    """The new version; None where there is none."""
    reason: str
    state: State = "nothing"
    """`deferred`: the branch has another content now, and the run for its newest commit promotes."""
    warn: bool = False
    """Whether somebody must know, though the job is green."""

    def line(self) -> str:
        """For the log and the job's summary."""
        return f"{self.model}: {self.version or 'nothing promoted'} ({self.recipe or 'no recipe'}: {self.reason})"


@dataclass(frozen=True)
class Choice:
    """Which recipe of those that passed is promoted."""

    recipe: str | None = None
    by: str = "smallest"


def promote_all(git: Git, evidence: Path, choice: Choice, key: Signer | None) -> list[Promoted]:
    """Promote what the gate weighed and passed, each model by one push onto the tip that the branch has then.

    Where the branch has moved, what was passed still counts as long as nothing that it rests on differs there; else it
    is deferred to the run for the newer commit. Raises `StateError` where the evidence is for a commit that is not
    part of this branch, the tree is dirty, there is no DVC remote to hold the bytes, or the remote was rewound.
    """
    handed, head = EvidenceBundle.read(evidence), git.head()
    if not git.is_ancestor(handed.commit, head):
        raise StateError(f"is for commit {handed.commit[:12]}, not for {head[:12]}", where=str(evidence))
    if git.dirty():
        raise StateError(f"the tree is dirty: {git.dirty()[0]}", fix="promote from a clean checkout")
    for name in handed.weighed:
        inside(git.root, name)
        require_whole(inside(evidence, name))
    run = _Run(git, evidence, handed.commit, choice, key)
    return [run.project(name) for name in handed.weighed]


class TipMovedError(StateError):
    """Somebody pushed after the decision was taken: it is taken again on the new tip."""


@dataclass(frozen=True)
class _Run:
    git: Git
    evidence: Path
    gated: str
    """The commit that the gate passed."""
    choice: Choice
    key: Signer | None

    def project(self, project: str) -> Promoted:
        branch = self.git.branch()
        if branch is None:
            raise StateError("HEAD is on no branch", fix="check out the branch that carries the registry")
        for _ in range(_ATTEMPTS):
            tip = catch_up(self.git, branch)
            try:
                return self._on(tip, project)
            except TipMovedError:
                continue
        raise StateError(f"gave up after {_ATTEMPTS} concurrent updates; nothing was changed", fix="try again later")

    def _on(self, tip: str, project: str) -> Promoted:
        root, source = inside(self.git.root, project), inside(self.evidence, project)
        unpack(source, root)
        lock = read_bytes(root / LOCK)
        try:
            gate, _ = read_verdict(root)
            recipe, other = self._pick(root)
            differs = outdated(self.git, self.gated, tip, project)
            if other is not None:
                if differs is None:
                    self._record(tip, root, recipe, gate.model)
                return other
            if differs:
                return _deferred(gate.model, recipe, f"the branch has moved on to {tip[:12]}, where {differs}")
            gathered = gather(root, recipe)  # what lies there agrees, before it is judged
            judge_again(self.git, root, recipe)
            share(self.git, root)
        finally:
            self._restore(root)
        handed = Handed(gathered, lambda base: self._locked(base, tip, root, lock, gate.model))
        try:
            made = promote(root, PromotionRequest(recipe, "policy"), settings=Settings(), key=self.key, handed=handed)
        except AnotherStableError as error:
            return _deferred(gate.model, recipe, error.what)
        state = _STATES.get(made.event.kind, "recorded")
        return Promoted(
            gate.model, recipe, made.event.records[-1].version, made.event.reason or _SAID[state], state,
            warn=bool(made.event.reason),
        )  # fmt: skip

    def _pick(self, root: Path) -> tuple[str, Promoted | None]:
        """The recipe to promote, or why there is none: the best of those that passed that is not known to be worse."""
        gate, _ = read_verdict(root)
        if self.choice.recipe is not None and self.choice.recipe not in passing(gate):
            raise StateError(f"{self.choice.recipe!r} did not pass", where="reports/verdict.json")
        names = [self.choice.recipe] if self.choice.recipe else ranked(root, self.choice.by)
        passed_over = []
        for name in names:
            found = standing(self.git.root, gate.model, first_verdict(gate, name).candidate.digest)
            if found is None:
                return name, None
            if found.settled:
                return name, Promoted(gate.model, name, None, found.text(gate.model))
            passed_over.append((name, found))
        return "", Promoted(gate.model, names[0], None, _none_left(gate.model, passed_over), warn=True)

    def _restore(self, root: Path) -> None:
        """What the evidence put over the checkout and git does not ignore, as the tip has it: the lock file, which the
        store commits on top, and outputs that are tracked or were never ignored.
        """
        places = [os.path.relpath(root / name, self.git.root) for name in (LOCK, *outputs(root))]
        for path in self.git.dirty(*(f":(top,literal){place}" for place in places)):
            name = path.strip('"')
            if self.git.attempt("ls-files", "--error-unmatch", "--", f":(top,literal){name}").returncode == 0:
                self.git.run("checkout", "--quiet", "--", f":(top,literal){name}")
            else:
                (self.git.root / name).unlink(missing_ok=True)

    def _record(self, tip: str, root: Path, recipe: str, model: str) -> None:
        """Commit the lock file where no version comes with it: the next change starts from what was built here."""
        lock = read_bytes(root / LOCK)
        made = self._locked(tip, tip, root, lock, model)
        if made == tip:
            return
        if recipe:
            gather(root, recipe)
        share(self.git, root)
        done = self.git.attempt("push", "--quiet", "--porcelain", "origin", f"{made}:refs/heads/{self.git.branch()}")
        if done.returncode != 0:
            raise TipMovedError((done.stderr.strip() or done.stdout.strip() or "the push was refused").splitlines()[-1])

    def _locked(self, base: str, tip: str, root: Path, lock: bytes, model: str) -> str:
        """A commit on the tip with the lock file that names what was weighed; the tip itself where it has it."""
        if base != tip:
            raise TipMovedError("the branch has moved")
        path = os.path.relpath(root / LOCK, self.git.root)
        if self.git.blob(base, path) == lock:
            return base
        message = f"{model}: record what the gate weighed at {self.gated[:12]}\n"
        return commits.build(self.git, base, {path: lock}, message, replaces=path)


_SAID: dict[State, str] = {"stable": "promoted", "canary": "its canary has started", "recorded": "recorded"}


def _deferred(model: str, recipe: str, why: str) -> Promoted:
    return Promoted(model, recipe, None, f"{why}: the run for the newest commit promotes", "deferred", warn=True)


def _none_left(model: str, found: list[tuple[str, Standing]]) -> str:
    said = "; ".join(f"{name}: {item.text(model)}" for name, item in found)
    return f"no recipe that passed can be promoted: {said}"


@contextmanager
def signing_key(pem: str) -> Iterator[PrivateKey | None]:
    """The key in a secret's text; None where it is empty. It touches the disk in a private folder only."""
    if not pem.strip():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.touch(mode=0o600)
        path.write_text(pem.strip() + "\n")
        try:
            key = load_private_key(path)
        except InputError as error:
            raise InputError(error.what, where="WEIGHBRIDGE_SIGNING_KEY_PEM") from error
    yield key
