"""Confirmed hypervolume of a search beside recipes made by hand, random search and Olive's own search.

Hypervolume is that of log(baseline's bytes / bytes) x log(baseline's latency / latency) over the files that lose at
most a point on the part that confirms, with the baseline as the reference. Every contender is given the same baseline,
parts and clock, hands in up to eight files, and is confirmed by the same code. One contender with one seed is a unit:
what it handed in and what was confirmed are documents in the work folder, so that a long run can be spread over many
sittings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from benchmarks.searching.confirmed_files import LIMIT, Ground, confirmed, ground_of
from benchmarks.searching.olive_contender import Asked, olive
from weighbridge.compress.recipe.maker import Maker
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import RecipeSection
from weighbridge.core.files import atomic_write, read_json, read_yaml, write_json
from weighbridge.core.pareto import front, hypervolume
from weighbridge.gate.measure.machine import allowed_cores
from weighbridge.search.estimate.timing import Timing
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.run import Found, search
from weighbridge.search.trials.study import CONSTRAINT, STUDY

ROOT = Path(__file__).resolve().parents[2]
CONTENDERS = ("hand", "ours", "random", "olive")
BARS = {"of_hand_made": ("hand", 0.95), "of_random": ("random", 1.3), "of_olive": ("olive", 1.2)}
"""Bar → who our search is held against, and the least ratio of the hypervolumes, in the worst seed."""
MOST = 8
"""Files that a contender hands in, as many as a search confirms."""


@dataclass(frozen=True)
class Unit:
    """One contender with one seed and one clock."""

    contender: str
    seed: int
    minutes: float

    @property
    def folder(self) -> str:
        """Where in the work folder its documents lie."""
        return "hand" if self.contender == "hand" else f"{self.minutes:g}min/{self.contender}-{self.seed}"


@dataclass(frozen=True)
class Files:
    """What a contender hands in."""

    files: Mapping[str, Path]
    tried: int
    anytime: Sequence[tuple[float, float]] = ()
    """(seconds, hypervolume so far on the part that stops trials)."""


def unit_of(words: str, minutes: float) -> Unit:
    """The unit that `ours:7` names; a `ValueError` for anything else."""
    contender, _, seed = words.partition(":")
    if contender not in CONTENDERS or not (seed.isdecimal() or contender == "hand"):
        raise ValueError(f"expected CONTENDER:SEED with one of {', '.join(CONTENDERS)}, got {words!r}")
    return Unit(contender, int(seed or 0), minutes)


def units_of(seeds: Sequence[int], minutes: float) -> list[Unit]:
    """All units of a whole run; recipes made by hand have no seed."""
    named = [Unit(name, seed, minutes) for seed in seeds for name in CONTENDERS[1:]]
    return [Unit("hand", 0, minutes), *named]


def run_unit(unit: Unit, project: Path, work: Path, python: Path | None, *, confirming: bool = True) -> None:
    """Do what is left of a unit: to find files within its minutes, and to confirm them, now or at a later call."""
    folder = work / unit.folder
    if (folder / "confirmed.json").is_file():
        return
    ground = ground_of(project)
    if not (folder / "found.json").is_file():
        contenders: dict[str, Callable[[], Files]] = {
            "hand": lambda: _hand(ground, folder),
            "ours": lambda: _search(ground, unit),
            "random": lambda: _search(ground, unit),
            "olive": lambda: _olive(ground, unit, folder, python),
        }
        handed = contenders[unit.contender]()
        for name, path in handed.files.items():
            atomic_write(folder / "files" / f"{name}.onnx", path.read_bytes())
        content = {"tried": handed.tried, "files": list(handed.files), "anytime": list(handed.anytime)}
        write_json(folder / "found.json", content)
    if not confirming:
        return
    found = read_json(folder / "found.json")
    files = {name: folder / "files" / f"{name}.onnx" for name in found["files"]}
    write_json(folder / "confirmed.json", {**asdict(unit), **found, "files": confirmed(ground, files)})


def _hand(ground: Ground, folder: Path) -> Files:
    """The recipes of benchmarks/recipes.yaml from the search's own baseline, whatever time they take."""
    made = ground.searched.source
    maker = Maker(made.context, made.target, made.start)
    files = {}
    for name, section in read_yaml(ROOT / "benchmarks" / "recipes.yaml").items():
        files[name] = folder / "made" / f"{name}.onnx"
        data = maker.make(read_steps(RecipeSection(**section), f"recipes.yaml: {name}")).data
        atomic_write(files[name], data)
    return Files(files, len(files))


def _search(ground: Ground, unit: Unit) -> Files:
    """Our search, or the same at random: same space, same evaluation."""
    random, seconds = unit.contender == "random", 60 * unit.minutes
    name = f"{unit.contender}-{unit.seed}-{unit.minutes:g}min"
    workers = len(allowed_cores())
    request = SearchRequest(
        root=ground.project, seconds=seconds, seed=unit.seed, name=name, random=random, workers=workers
    )
    found = search(request)
    by_number = dict(found.tried)
    suffix = {item.number: by_number[item.number].last.digest for item in found.confirmed}
    paths = {f"trial-{number}": stored(found.folder, digest) for number, digest in suffix.items()}
    return Files(paths, len(found.tried), _anytime(found))


def stored(folder: Path, digest: str) -> Path:
    """A file that a search in this folder made."""
    return folder / "files" / f"{digest.removeprefix('sha256:')[:24]}.onnx"


def _olive(ground: Ground, unit: Unit, folder: Path, python: Path | None) -> Files:
    """The front of what Olive's own search evaluated and found to lose at most a point."""
    rows = olive(ground.searched, ground.baseline, Asked(folder / "olive", 60 * unit.minutes, unit.seed, python))
    base = next(row for row in rows if row["input"])
    points: list[tuple[float, float]] = []
    curve, kept = [], []
    for row in rows:
        if row["input"]:
            continue
        if base["accuracy"] - row["accuracy"] <= LIMIT:
            points.append((math.log(ground.baseline_bytes / row["bytes"]), math.log(base["latency"] / row["latency"])))
            kept.append(row)
        curve.append((row["seconds"], hypervolume(points)))
    best = spread(front(kept, lambda row: (row["bytes"], row["latency"])))
    return Files({f"model-{index}": Path(row["path"]) for index, row in enumerate(best)}, len(rows) - 1, curve)


def spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Up to `MOST` of a front, evenly by size."""
    ordered = sorted(rows, key=lambda row: row["bytes"])
    if len(ordered) <= MOST:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (MOST - 1))] for index in range(MOST)]


def _anytime(found: Found) -> list[tuple[float, float]]:
    """(seconds, hypervolume of what kept the budgets so far on the part that stops trials), as trials ended."""
    log = JournalStorage(JournalFileBackend(str(found.folder / "journal.log")))
    trials = optuna.load_study(study_name=STUDY, storage=log).get_trials(states=[TrialState.COMPLETE])
    points, curve = [], []
    for trial in sorted(trials, key=lambda item: float(item.user_attrs["facts"]["elapsed"])):
        known = trial.user_attrs["facts"]
        if trial.user_attrs[CONSTRAINT] <= 0 and known["timing"]:
            ratio = Timing(**{key: tuple(value) for key, value in known["timing"].items()}).ratio
            points.append((math.log(found.baseline.bytes / known["rungs"][-1]["bytes"]), -math.log(ratio)))
        curve.append((known["elapsed"], hypervolume(points)))
    return curve


def rows_of(work: Path, units: Sequence[Unit]) -> list[dict[str, Any]]:
    """What the work folder has of these units."""
    found = []
    for unit in units:
        path = work / unit.folder / "confirmed.json"
        if path.is_file():
            found.append(_row(read_json(path)))
    return found


def _row(unit: dict[str, Any]) -> dict[str, Any]:
    kept = [item for item in unit["files"] if item["kept"]]

    def volume(rows: Sequence[dict[str, Any]]) -> float:
        return hypervolume([(math.log(item["times_smaller"]), -math.log(item["ratio"])) for item in rows])

    return {
        **unit,
        "hypervolume": volume(kept),
        "hypervolume_proven": volume([item for item in kept if item["proven"]]),
        "hypervolume_on_test": volume([item for item in unit["files"] if item["kept_on_test"]]),
        "smallest": max((item["times_smaller"] for item in kept), default=1.0),
        "fastest": min((item["ratio"] for item in kept), default=1.0),
    }


def bars_of(rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Our hypervolume over each other's, in the worst seed; a bar is met only where every seed was run."""
    volumes = {(row["contender"], row["seed"]): row["hypervolume"] for row in rows}
    found = {}
    for name, (other, target) in BARS.items():
        pairs = [(volumes.get(("ours", seed)), volumes.get((other, 0 if other == "hand" else seed))) for seed in seeds]
        ratios = [ours / max(theirs, 1e-9) for ours, theirs in pairs if ours is not None and theirs is not None]
        if ratios:
            whole = len(ratios) == len(seeds)
            found[name] = {"value": min(ratios), "target": target, "met": whole and min(ratios) >= target}
            found[name] |= {"units": f"{len(ratios)} of {len(seeds)}"}
    return found


__all__ = [
    "CONTENDERS",
    "Unit",
    "bars_of",
    "rows_of",
    "run_unit",
    "stored",
    "unit_of",
    "units_of",
]
