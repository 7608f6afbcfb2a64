"""Follow a registry: fetch its remote, refuse one that was rewound, verify the whole state, say what is to be served.

A clone of its own, under a lock, holds the last state that was accepted. A remote that is away changes nothing; nor
does a state that fails verification. What was accepted once is what the next start begins with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from weighbridge.core.errors import InputError, IntegrityError, StateError, WeighbridgeError
from weighbridge.core.facts.isa import Host, this_host
from weighbridge.core.file_lock import lock_taken
from weighbridge.core.files import atomic_write, sha256_bytes
from weighbridge.core.git import Git
from weighbridge.registry.lookup.location import locate
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.lookup.resolved import Resolved
from weighbridge.registry.state.layout import MODELS, WorkTree, model_folder, require_channels
from weighbridge.registry.trust.registry_policy import read_policy
from weighbridge.registry.trust.verify import verify_models

_SHARE = 100.0


class InUseError(StateError):
    """A folder that another server follows with."""


@dataclass(frozen=True)
class Desired:
    """What a verified state of the registry says should be served."""

    commit: str
    stable: Resolved
    canary: Resolved | None
    thresholds: tuple[float, ...]
    """Seconds: latency limits of online budgets, which histograms need a bucket at."""
    quarantined: frozenset[str] = frozenset()
    """Digests that must not serve, whatever else fails."""

    @property
    def weight(self) -> float:
        """Share of the canary in per cent."""
        return 0.0 if self.canary is None else min(_SHARE, float(self.canary.weight or 0.0))


@dataclass
class Follower:
    """A clone of the registry in `folder`, for one model. Not for several threads at once."""

    source: str
    model: str
    folder: Path
    target: str | None = None
    branch: str | None = None
    patience: float = 60.0
    """Seconds after which git is given up."""
    host: Host | None = field(default_factory=this_host)
    clock: Callable[[], float] = time.monotonic
    problem: str | None = None
    """Why the remote's state was not taken at the start; None where it was."""
    _lock: IO[str] | None = field(default=None, repr=False)
    _heard: float | None = None

    def __post_init__(self) -> None:
        model_folder(self.model)
        if self.source.startswith("-"):
            raise InputError(f"{self.source!r} is not a repository", where="--registry")
        if Path(self.source).exists():
            self.source = str(Path(self.source).resolve())

    @property
    def clone(self) -> Path:
        """The clone's working tree."""
        return self.folder / "clone"

    @property
    def age(self) -> float | None:
        """Seconds since the remote last answered; None before it did in this process."""
        return None if self._heard is None else self.clock() - self._heard

    def start(self) -> Desired:
        """What was accepted last, or now where that is nothing; the remote's state where it answers.

        Without either a `StateError`.
        """
        self._take_lock()
        accepted = self._accepted()
        if accepted is not None:
            (self.clone / ".git" / "index.lock").unlink(missing_ok=True)  # of a process that was killed
            self._checkout(accepted)
        else:
            self._clone()
        try:
            found = self.poll()
        except WeighbridgeError as error:
            if accepted is None:
                raise
            # Away, rewound or forged while nothing ran: what was accepted is served, and `problem` says so.
            self.problem, found = str(error), None
        return found or self._read(self._git("rev-parse", "HEAD"))

    def poll(self) -> Desired | None:
        """What the remote says now; None where that is what was accepted already.

        A remote that does not answer is a `StateError`. A state that does not contain the accepted one (a registry
        that was rewound or replaced), or that does not verify, is an `IntegrityError`. Neither changes anything.
        """
        self._git("fetch", "-q", "--no-tags", "origin", self.branch or "HEAD")
        self._heard = self.clock()
        tip, accepted = self._git("rev-parse", "FETCH_HEAD^{commit}"), self._accepted()
        if tip == accepted:
            return None
        if accepted is not None and not Git(self.clone).is_ancestor(accepted, tip):
            raise IntegrityError(
                f"does not contain {accepted[:12]}, which was served: the registry was rewound or replaced",
                where=self.source,
                fix=f"if that was meant, remove {self.folder}",
            )
        self._checkout(tip)
        try:
            found = self._read(tip)
        except Exception:
            if accepted is not None:
                self._checkout(accepted)
            raise
        atomic_write(self.folder / "accepted", tip.encode())
        return found

    def bytes_of(self, artifact: Resolved) -> bytes:
        """An artifact's bytes, whose SHA-256 is right; kept, so that the next start needs nobody.

        Quarantined bytes, and those that this processor would answer differently with, are refused.
        """
        if artifact.quarantined or artifact.digest in self._quarantined():
            raise StateError("is quarantined", where=f"{artifact.model}@{artifact.version}")
        artifact.require_host(self.host)
        artifact.require_one_file("a server")
        kept = self.folder / "bytes" / artifact.digest.removeprefix("sha256:")
        if kept.is_file() and sha256_bytes(data := kept.read_bytes()) == artifact.digest:
            return data
        data = self._locate(artifact).read_bytes()
        if sha256_bytes(data) != artifact.digest:
            raise IntegrityError("bytes changed while they were read", where=f"{artifact.model}@{artifact.version}")
        atomic_write(kept, data)
        return data

    def forget(self, keep: Sequence[str]) -> None:
        """Remove kept bytes but those of these digests."""
        names = {digest.removeprefix("sha256:") for digest in keep}
        for path in (self.folder / "bytes").glob("*"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _locate(self, artifact: Resolved) -> Path:
        # A relative DVC remote, and DVC's cache, belong to the folder that was cloned. Folders come first: asking a
        # remote starts DVC, which takes longer than all the rest of a move.
        source = Path(self.source)
        roots = [self.clone, source] if (source / MODELS).is_dir() else [self.clone]
        for root in roots:
            with suppress(StateError):
                return locate(root, artifact, remote=False)
        for root in roots[:-1]:
            with suppress(StateError):
                return locate(root, artifact)
        return locate(roots[-1], artifact)

    def _quarantined(self) -> set[str]:
        return set(require_channels(WorkTree(self.clone), self.model)["quarantined"].values())

    def _read(self, commit: str) -> Desired:
        verify_models(self.clone, models=[self.model])
        view = WorkTree(self.clone)
        channels = require_channels(view, self.model)
        stable = resolve(self.clone, f"{self.model}@stable", target=self.target, view=view)
        canary = None
        budgets = [dict(budget) for budget in read_policy(view).canary.budgets]
        if channels.get("canary") is not None:
            canary = resolve(self.clone, f"{self.model}@canary", target=stable.target, view=view)
            budgets += channels["canary"]["plan"].get("budgets", [])
        thresholds = {float(budget["threshold"]) for budget in budgets if budget.get("threshold")}
        return Desired(commit, stable, canary, tuple(sorted(thresholds)), frozenset(channels["quarantined"].values()))

    def _accepted(self) -> str | None:
        try:
            commit = (self.folder / "accepted").read_text().strip()
        except FileNotFoundError:
            return None
        if len(commit) not in (40, 64) or set(commit) - set("0123456789abcdef"):
            raise IntegrityError("is not a commit", where=str(self.folder / "accepted"), fix=f"remove {self.folder}")
        return commit

    def _take_lock(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        if not lock_taken(self._lock):
            self._lock.close()
            raise InUseError("is used by another server", where=str(self.folder), fix="name another: --cache")

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            self._lock.close()

    def _clone(self) -> None:
        shutil.rmtree(self.clone, ignore_errors=True)
        self._git("init", "-q", str(self.clone), folder=self.folder)
        for key, value in (("core.autocrlf", "false"), ("core.hooksPath", "/dev/null"), ("gc.auto", "0")):
            self._git("config", key, value)
        self._git("remote", "add", "origin", self.source)
        self._git("sparse-checkout", "set", MODELS, ".dvc")

    def _checkout(self, commit: str) -> None:
        self._git("checkout", "-q", "-f", "--detach", commit)

    def _git(self, *arguments: str, folder: Path | None = None) -> str:
        done = self._run(arguments, folder or self.clone)
        if done.returncode != 0:
            said = (done.stderr.strip() or "no message").splitlines()[-1]
            raise StateError(f"git {arguments[0]} failed: {said}", where=self.source)
        return done.stdout.strip()

    def _run(self, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        command = ["git", *arguments]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "GIT_LFS_SKIP_SMUDGE": "1"}
        try:
            return subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                check=False, timeout=self.patience,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise StateError(f"git {arguments[0]} timed out after {self.patience:g} s", where=self.source) from error
        except FileNotFoundError as error:
            raise StateError("git or the working folder not found", where=str(folder)) from error


def default_folder(source: str, model: str) -> Path:
    """Where a server keeps its clone and its bytes, unless told otherwise."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(source.encode()).hexdigest()[:12]
    return base / "weighbridge" / "serve" / f"{model}-{name}"
