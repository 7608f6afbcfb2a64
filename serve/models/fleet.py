"""The versions that serve: loaded from verified bytes, warmed up, and swapped as a whole.

A request reads `Fleet.board` once and keeps it: it sees one state, however often the channels move meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from weighbridge.core.errors import IntegrityError, StateError, WeighbridgeError
from weighbridge.registry.lookup.resolved import Resolved
from weighbridge.serve.following import Desired
from weighbridge.serve.models.batching import Batcher, Batching
from weighbridge.serve.models.runtimes import Loaded, load
from weighbridge.serve.tensors import DATATYPES


@dataclass(frozen=True, eq=False)
class Serving:
    """One version in memory."""

    artifact: Resolved
    loaded: Loaded
    batcher: Batcher

    @property
    def version(self) -> str:
        """Its name, such as `v7`."""
        return self.artifact.version


@dataclass(frozen=True)
class Board:
    """What serves at one moment."""

    stable: Serving
    canary: Serving | None
    weight: float
    """Per cent of the requests that the canary answers."""
    commit: str
    previous: Serving | None = None
    """What was stable before, still loaded."""

    def all(self) -> tuple[Serving, ...]:
        """Every version in memory."""
        return tuple(s for s in (self.stable, self.canary, self.previous) if s is not None)

    def named(self, name: str | None) -> Serving | None:
        """The stable version, or the one that serves under a name."""
        found = [s for s in (self.stable, self.canary) if s is not None and s.version == name]
        return self.stable if name is None else next(iter(found), None)


@dataclass
class Fleet:
    """Loads what the registry wants, and keeps what it had where that fails."""

    fetch: Callable[[Resolved], bytes]
    batching: Batching
    threads: int = 1
    load: Callable[[bytes, str, int], Loaded] = load
    board: Board | None = None
    problem: str | None = None
    """Why the registry's newest state is not what serves; None where it is."""

    def update(self, desired: Desired) -> None:
        """Serve what a state of the registry wants. Where stable does not load everything stays as it was,
        except that nothing serves which is quarantined now; a canary that does not load gets no traffic. `problem` says
        so. Called from one thread.
        """
        self.problem = None
        before = self.board
        try:
            stable = self._have(desired.stable)
        except WeighbridgeError as error:
            self.problem = str(error)
            self.board = before and _without(before, desired.quarantined)
            self._close(before, self.board)
            if before is None:
                raise
            return
        canary = None
        if desired.canary is not None:
            try:
                canary = self._have(desired.canary)
                _require_alike(stable, canary)
            except WeighbridgeError as error:
                self.problem, canary = f"the canary gets no traffic: {error}", None
        previous = before.stable if before is not None else None
        if before is not None and before.stable is stable:
            previous = before.previous
        weight = desired.weight if canary else 0.0
        self.board = Board(stable, canary, weight, desired.commit, previous)
        self._close(before, self.board)

    def _have(self, artifact: Resolved) -> Serving:
        """The version, loaded already or now."""
        board = self.board
        for held in board.all() if board else ():
            same = (held.version, held.artifact.digest) == (artifact.version, artifact.digest)
            if same and not held.batcher.stuck:
                if artifact.quarantined:
                    raise StateError("is quarantined", where=f"{artifact.model}@{artifact.version}")
                return held
        data = self.fetch(artifact)
        where = f"{artifact.model}@{artifact.version}"
        try:
            loaded = self.load(data, artifact.target, self.threads)
            warm_up(loaded)
        except WeighbridgeError:
            raise
        except Exception as error:
            # The runtimes' own errors share no base class.
            raise StateError(f"does not load: {' '.join(str(error).split())[:200]}", where=where) from error
        return Serving(artifact, loaded, Batcher(loaded, self.batching))

    def _close(self, before: Board | None, after: Board | None) -> None:
        """End the threads of versions that serve no more; what waits in them is answered first."""
        kept = {id(serving) for serving in after.all()} if after else set()
        for serving in before.all() if before else ():
            if id(serving) not in kept:
                serving.batcher.close()


def _without(board: Board, quarantined: frozenset[str]) -> Board | None:
    """The board without versions that are quarantined; None where the stable one is."""
    if board.stable.artifact.digest in quarantined:
        return None
    canary = board.canary
    kept = canary if canary is not None and canary.artifact.digest not in quarantined else None
    return replace(board, canary=kept, weight=board.weight if kept else 0.0)


def _require_alike(stable: Serving, canary: Serving) -> None:
    """A canary answers the same requests: its inputs must have the names, types and shapes of stable's."""
    if stable.loaded.inputs != canary.loaded.inputs:
        raise IntegrityError(
            f"its inputs differ from those of {stable.version}", where=f"{canary.artifact.model}@{canary.version}"
        )


def warm_up(loaded: Loaded, runs: int = 3) -> None:
    """Run zeros through a model, so that the first request pays for nothing; outputs must be those it describes."""
    feed = {
        spec.name: np.zeros([1 if n < 0 else n for n in spec.shape], DATATYPES[spec.datatype]) for spec in loaded.inputs
    }
    for _ in range(runs):
        outputs = loaded.run(feed)
        if len(outputs) != len(loaded.outputs):
            raise StateError(f"gives {len(outputs)} outputs; it describes {len(loaded.outputs)}")


async def drain(board: Board, patience: float) -> None:
    """Wait until nothing runs, at most `patience` seconds, then end the threads."""
    everything = board.all()
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while any(s.batcher.waiting for s in everything) and loop.time() < until:  # noqa: ASYNC110  # shadows tell nobody
        await asyncio.sleep(0.01)
    for serving in everything:
        serving.batcher.close()
