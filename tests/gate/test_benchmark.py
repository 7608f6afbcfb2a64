"""`benchmarks/gate.py`: it goes on where it stopped, and every bar can be missed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gating import coverage, live, naive, quickstart, recorded
from benchmarks.gating.models import GREEDIER, ITSELF, SLOWER
from benchmarks.gating.rows import Row
from benchmarks.gating.store import Store
from weighbridge.core.errors import InputError
from weighbridge.gate.statistics import hodges_lehmann

HERE = {"fingerprint": "sha256:a"}


def test_an_interrupted_trial_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What was taken before the interruption is not taken again, and is on disk."""
    path = tmp_path / "figures.json"

    def take(number: int) -> int:
        if number == 2 and not seen:
            raise KeyboardInterrupt
        return number * 10

    seen = []
    with pytest.raises(KeyboardInterrupt):
        Store(path, HERE).collect("live", 4, take)
    assert json.loads(path.read_text())["seen"]["live"] == [0, 10]
    seen.append(True)
    assert Store(path, HERE).collect("live", 4, take) == [0, 10, 20, 30]
    assert Store(path, HERE).collect("live", 3, lambda _: pytest.fail("taken again")) == [0, 10, 20]


def test_figures_of_another_machine_are_not_continued(tmp_path: Path) -> None:
    """Launches of two machines in one file would be an effect."""
    path = tmp_path / "figures.json"
    Store(path, HERE).collect("live", 1, lambda number: number)
    with pytest.raises(InputError, match="another device"):
        Store(path, {"fingerprint": "sha256:b"})


def launches(*, moved: float = 0.0, copies: int = 12, pairs: int = 80) -> dict[str, list[dict[str, Any]]]:
    """What `record` and `record_memory` keep, made of numbers."""
    rng = np.random.default_rng(6)

    def one(metrics: Sequence[str], centre: float) -> dict[str, Any]:
        ratios = {metric: centre + (0.0007 if metric == "memory.peak" else 0.02) * rng.normal() for metric in metrics}
        return {"log_ratio": ratios, "memory": {"baseline": 68.7e6, "candidate": 68.7e6}}

    seen = {"launches": [{ITSELF: one(recorded.METRICS, moved)} for _ in range(pairs)], "memory": []}
    for number in range(copies):
        for name, blocks in SLOWER.items():
            if name != ITSELF:
                seen["launches"][number][name] = one(recorded.METRICS, np.log(blocks / 40))
        seen["memory"].append({name: one(["memory.peak"], np.log(ratio)) for name, ratio in GREEDIER.items()})
    return seen


def met(rows: list[Row]) -> dict[str, Any]:
    """Whether each bar was met."""
    return {row.name: row.met for row in rows if row.bar}


def test_a_gate_that_is_right_meets_every_bar() -> None:
    """Launches without an effect, and copies with the ones that they claim."""
    seen = launches()
    for metric in recorded.METRICS:  # chance offsets of eighty pairs are effects once they are drawn again
        centre = hodges_lehmann([each[ITSELF]["log_ratio"][metric] for each in seen["launches"]])
        for each in seen["launches"]:
            each[ITSELF]["log_ratio"][metric] -= centre
    found = met(recorded.rows(seen, 40))
    assert len(found) == 11
    assert all(found.values())


def test_launches_that_lean_and_copies_that_do_not_are_seen() -> None:
    """A recording with an effect of 3 % fails as it is; copies that are no slower are not found."""
    seen = launches(moved=0.03)
    for each in seen["launches"]:
        for name in SLOWER:
            if name != ITSELF and name in each:
                each[name]["log_ratio"] = dict.fromkeys(recorded.METRICS, 0.0)
    found = met(recorded.rows(seen, 20))
    assert not found["aa_at_limit_false_fail_as_recorded"]
    assert not found["slower_5_percent_fail_found"]


def weighings(*verdicts: str) -> list[Any]:
    """One round of live weighings."""
    return [{"verdict": verdict, "seconds": 70.0, "pairs": 10} for verdict in verdicts]


def test_live_bars_count_verdicts() -> None:
    """False fails, missed excesses, wrong verdicts under load, flips between runs, and slowness."""
    good = live.live_rows({"live": [weighings("inconclusive", "pass", "fail", "fail", "fail")]})
    assert [name for name, well in met(good).items() if not well] == ["live_slower_5_percent_seconds_to_verdict"]
    bad = live.live_rows({"live": [weighings("fail", "fail", "pass", "inconclusive", "error")]})
    assert not any(met(bad).values())
    assert all(met(live.loaded_rows({"loaded": [weighings("inconclusive", "inconclusive")]})).values())
    assert not any(met(live.loaded_rows({"loaded": [weighings("fail", "pass")]})).values())
    steady, flipping = weighings("inconclusive", "fail", "fail"), weighings("pass", "inconclusive", "fail")
    assert all(met(live.rerun_rows({"rerun": steady})).values())
    assert not any(met(live.rerun_rows({"rerun": flipping})).values())


def test_a_quickstart_that_could_not_run_meets_no_bar() -> None:
    """A stage that failed is not a fast one, and a project that was never built is no figure."""
    quick = {"seconds": {"weigh a": 1.0, "judge": 1.0}, "errors": {}}
    (row,) = quickstart.quickstart_rows({"quickstart": [quick]})
    assert row.met
    (row,) = quickstart.quickstart_rows({"quickstart": [{**quick, "errors": {"judge": "exit 2"}}]})
    assert row.met is False
    (row,) = quickstart.quickstart_rows({"quickstart": [{**quick, "seconds": {"weigh a": 181.0, "judge": 1.0}}]})
    assert row.met is False
    (row,) = quickstart.quickstart_rows({})
    assert row.met is None


def test_published_tables_come_out() -> None:
    """And the naive gate is shown without a bar."""
    assert all(met(coverage.published()).values())
    rows = naive.naive_rows({"naive": [{ITSELF: 1.2, "+10 %": 1.0}, {ITSELF: 1.0, "+10 %": 1.2}]})
    assert [(row.value, row.met) for row in rows] == [(1, None), (1, None)]
