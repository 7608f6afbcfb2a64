"""The journal of a search: an Optuna study in one append-only file that no kill damages.

Each trial's proposal depends on the seed, its number and what the trials before it gave, on nothing else: a search that
is resumed proposes what it would have proposed. A trial that was under way when the process died is run again under
its own number, so that none is lost and none counts twice.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import GPSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import parse_json
from weighbridge.gate.measure.machine_lock import lock_of, machine_lock
from weighbridge.search.problem.space import Space, Values

STUDY = "search"
FORMAT = 2
"""Of a journal: what its trials keep, and the scale of their constraints. A journal of another format is refused, since
its trials would be misread.
"""
IDENTITY = "identity"
CONSTRAINT = "constraint"
STARTUP = 12
"""Trials before the sampler learns from them: about as many as there are starting points."""
GAUSSIAN = 20
"""Finished trials from which on a Gaussian process makes every second proposal. Not each: it may ask for a known point
again and again, where TPE moves on. None where nothing trains: a proposal takes seconds, an untrained trial one.
"""
STRIDE = 1_000_003
"""Keeps the seeds of two searches' trials apart."""


class _Held:
    """The journal's lock: the whole search holds a lock of its own, which a kill releases."""

    def acquire(self) -> bool:
        """Nobody else writes."""
        return True

    def release(self) -> None:
        """Nothing to give back."""


class _Appending(JournalFileBackend):
    """The journal's file. A line that does not fit on the disk is taken back, and nothing follows it: else Optuna
    would finish the trial without its facts.
    """

    full: OSError | None = None

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines, all or none."""
        if self.full is not None:
            raise self.full
        path = Path(self._file_path)
        size = path.stat().st_size
        try:
            super().append_logs(logs)
        except OSError as error:
            self.full = error
            os.truncate(path, size)
            raise


class Journal:
    """One search's trials. Use `opened`."""

    def __init__(self, path: Path, space: Space, objectives: int, seed: int, *, random: bool = False) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path, self.space, self.seed, self.random = path, space, seed, random
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of experimental interfaces
            storage = JournalStorage(_Appending(str(path), lock_obj=_Held()))  # type: ignore[arg-type]
            self.study = optuna.create_study(
                storage=storage,
                study_name=STUDY,
                directions=["minimize"] * objectives,
                load_if_exists=True,
                sampler=RandomSampler(seed=seed),
            )

    def ask(self) -> Trial:
        """The next trial, its values chosen."""
        number = len(self.study.get_trials(deepcopy=False, states=None))
        waiting = [item.number for item in self.trials(TrialState.WAITING)]
        self.study.sampler = self._sampler(min([*waiting, number]))
        return self.study.ask(self._distributions())

    def unfinished(self) -> Iterator[Trial]:
        """Trials that a dead process left under way, with the values they had, or would have had."""
        for frozen in self.trials(TrialState.RUNNING):
            self.study.sampler = self._sampler(frozen.number)
            trial = Trial(self.study, frozen._trial_id)  # noqa: SLF001  # what `ask` does; no public way continues one
            for name, distribution in self._distributions().items():
                trial._suggest(name, distribution)  # noqa: SLF001
            yield trial

    def start_with(self, values: Sequence[Values]) -> None:
        """Queue starting points, each once, however often a search is resumed."""
        for item in values:
            self.study.enqueue_trial(dict(item), skip_if_exists=True)

    def tell(self, trial: Trial, values: Sequence[float], constraint: float, facts: Mapping[str, Any]) -> None:
        """Finish a trial. Facts and constraint come first: a trial that counts has both."""
        trial.set_user_attr("facts", dict(facts))
        trial.set_user_attr(CONSTRAINT, constraint)
        self.study.tell(trial, list(values))

    def fail(self, trial: Trial, reason: str) -> None:
        """End one trial alone, with the reason."""
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in those states, by number."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def facts(self) -> list[dict[str, Any]]:
        """What each finished trial gave, by number."""
        return [dict(item.user_attrs["facts"], number=item.number) for item in self.trials(TrialState.COMPLETE)]

    def importance(self) -> dict[str, float]:
        """Knob → its share in what decides the first objective; empty for few trials or where all gave the same."""
        done = self.trials(TrialState.COMPLETE)
        if len(done) < STARTUP or len({item.values[0] for item in done}) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(
                self.study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=lambda trial: trial.values[0],
            )
        return {name: share for name, share in found.items() if math.isfinite(share)}

    def note(self, key: str, value: Any) -> None:
        """Keep a fact of the whole search."""
        self.study.set_user_attr(key, value)

    def noted(self, key: str) -> Any:
        """A fact of the whole search; None where there is none."""
        return self.study.user_attrs.get(key)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = (self.seed * STRIDE + number) % 2**31
        if self.random:
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained = self.space.section.epochs > 0
            if trained and number % 2 == 0 and len(self.trials(TrialState.COMPLETE)) >= GAUSSIAN:
                return GPSampler(seed=seed, constraints_func=_constraints)
            return TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP, constraints_func=_constraints)

    def _distributions(self) -> dict[str, BaseDistribution]:
        return {name: CategoricalDistribution(values) for name, values in self.space.knobs.items()}


@contextmanager
def opened(  # noqa: PLR0913  # keywords
    path: Path, space: Space, objectives: int, identity: Mapping[str, Any], *, seed: int, random: bool = False
) -> Iterator[Journal]:
    """Open or start a journal, alone; an `InputError` where it is of another search.

    `identity` is what trials depend on: model, data, space, budgets, seed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def waiting(_: float) -> None:
        """A moment: a process that was just killed still gives its lock back."""

    try:
        with machine_lock(lock_of(path, os.environ), waiting, limit=1.0):
            _drop_torn_line(path)
            yield _identified(Journal(path, space, objectives, seed, random=random), identity)
    except StateError as error:
        if "timed out" not in error.what:
            raise
        raise StateError(
            "another search is running on this journal", where=str(path), fix="weighbridge search stop"
        ) from error


def _identified(journal: Journal, identity: Mapping[str, Any]) -> Journal:
    known = journal.noted(IDENTITY)
    if known is None:
        journal.note(IDENTITY, {"format": FORMAT, **identity})
        return journal
    difference = _difference(known, identity)
    if difference:
        fix = "give this search its own --name, or delete the journal's folder"
        raise InputError(difference, where=str(journal.path), fix=fix)
    return journal


def _difference(known: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """What makes a known journal that of another search; empty where nothing does."""
    if known.get("format") != FORMAT:
        return "was written by a version of weighbridge that keeps other facts of its trials"
    for key, value in identity.items():
        if known.get(key) != value:
            return f"is the journal of a search with another {key} ({known.get(key)}; now {value})"
    return ""


def _drop_torn_line(path: Path) -> None:
    """Drop a last line that a kill or a full disk cut short; an `InputError` where anything else is no journal."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        parse_json(line.decode(errors="replace"), f"{path}: line {number}")
    if whole != data:
        path.write_bytes(whole)


def _constraints(trial: FrozenTrial) -> tuple[float, ...]:
    return (float(trial.user_attrs.get(CONSTRAINT, 1.0)),)


__all__ = ["FORMAT", "Journal", "opened"]
