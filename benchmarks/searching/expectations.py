"""How far what a search expects a file to lose is from what it loses on the test part, which no search is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from benchmarks.searching.confirmed_files import LIMIT, drops_on_test, ground_of
from benchmarks.searching.hypervolume import stored
from weighbridge.search.estimate.expected_drop import fitted_line
from weighbridge.search.trials.study import STUDY
from weighbridge.search.trials.workshop import FOLDER

NEAR = 0.03
"""Files that lost more where trials stop are no candidates."""


def expectations(project: Path) -> list[dict[str, Any]]:
    """For each search of the work folder, of its whole trials: how far the drop on the part that stops trials is from
    that on the test part, and how far the expected drop; the mean error and its root mean square, in points.
    """
    ground, found = ground_of(project), []
    for folder in sorted(path.parent for path in (project / FOLDER).glob("*min/journal.log")):
        log = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
        trials = optuna.load_study(study_name=STUDY, storage=log).get_trials(states=[TrialState.COMPLETE])
        known = [trial.user_attrs["facts"] for trial in trials]
        rungs = [rung for item in known for rung in item["rungs"] if rung.get("extra_cross_entropy") is not None]
        fitted = fitted_line(((rung["extra_cross_entropy"], rung["drop"]) for rung in rungs), LIMIT)
        if fitted is None:
            continue
        last = {item["rungs"][-1]["digest"]: item["rungs"][-1] for item in known if item["ended"] == "whole"}
        near = [rung for rung in last.values() if rung["drop"] <= NEAR and rung.get("extra_cross_entropy") is not None]
        truth = np.array(drops_on_test(ground, [stored(folder, rung["digest"]) for rung in near]))
        lost = np.array([rung["drop"] for rung in near])
        expected = np.array([fitted.at(rung["extra_cross_entropy"]).drop for rung in near])
        row = {"search": folder.name, "files": len(near), "points_a_nat": 100 * fitted.slope}
        found.append({**row, **_errors("lost", lost - truth), **_errors("expected", expected - truth)})
    return found


def _errors(name: str, errors: NDArray[Any]) -> dict[str, float]:
    return {
        f"{name}_mean_error": 100 * float(errors.mean()),
        f"{name}_rms_error": 100 * float(np.sqrt(np.square(errors).mean())),
    }


__all__ = ["expectations"]
