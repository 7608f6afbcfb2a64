"""The benchmark beside other tools: what it counts as met, what it never leaves out, and how it takes a step."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.beside import child, overhead, peers, process, project, rows
from benchmarks.beside.overhead import ratios
from benchmarks.beside.peers import PEERS, Peer
from benchmarks.beside.process import Spent, StepError, run_step
from benchmarks.beside.rows import Baseline, Figures, Interval, Row, bars, bars_table, in_order, table
from benchmarks.beside.weights import interval
from benchmarks.compress import FOR_OVERHEAD, wanted, weighed
from weighbridge.compress.recipe.recipe import read_steps
from weighbridge.core.documents import RecipeSection
from weighbridge.core.errors import InputError, MeasurementError

BASELINE = Baseline(bytes=400_000, gzip=360_000, zstd=350_000, top1=0.90)
FIGURES = Figures(10_000, 9_000, 8_900, 0.895, Interval(0.5, 0.48, 0.52), Spent(4.0, 3.5, 600_000_000))


def ours(name: str, **figures: Interval | float) -> Row:
    """A row of ours."""
    return Row(name, name, True, replace(FIGURES, **figures))


def test_every_recipe_is_valid_and_every_work_is_done_by_somebody() -> None:
    """Names of the table are those of peers and recipes, each once; each work has a peer and a recipe of ours."""
    recipes = project.recipes()
    for name, section in recipes.items():
        assert read_steps(RecipeSection.model_validate(section), name)
    assert not recipes.keys() & PEERS.keys()
    named = [name for names in rows.WORKS.values() for name in names]
    assert len(named) == len(set(named))
    for names in rows.WORKS.values():
        assert set(names) & PEERS.keys()
        assert set(names) & recipes.keys()
    assert PEERS.keys() <= {*named, *FOR_OVERHEAD}
    for recipe, peer in overhead.PAIRS.values():
        assert recipe in recipes
        assert peer in PEERS


def test_a_name_for_two_recipes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither would be the one that the table means."""
    (tmp_path / "recipes.yaml").write_text("fp16: {steps: [{pack: {}}]}\n")
    monkeypatch.setattr(project, "BEST", tmp_path / "recipes.yaml")
    with pytest.raises(InputError, match="'fp16' stands in"):
        project.recipes()


def test_headline_bars_take_our_best_row_within_the_margin() -> None:
    """Neither a peer nor a row that lost more than a point counts, however small and fast."""
    peer = Row("peer", "peer", False, replace(FIGURES, bytes=10, latency=Interval(0.01, None, None)))
    lossy = ours("lossy", bytes=20, latency=Interval(0.02, None, None), top1=0.8899)
    small, fast = ours("small", bytes=10_000), ours("fast", bytes=90_000, latency=Interval(0.40, 0.39, 0.41), top1=0.89)
    found = bars(BASELINE, [peer, lossy, small, fast], {})
    assert found["smallest_ratio"] == {"value": 40, "target": 40, "met": True, "recipe": "small", "drop_points": 0.5}
    assert found["fastest_ratio"]["value"] == 0.40
    assert found["fastest_ratio"]["met"]
    assert found["fastest_ratio"]["recipe"] == "fast"


def test_headline_bars_can_be_missed() -> None:
    """A byte too many, a thousandth too slow."""
    row = ours("row", bytes=10_001, latency=Interval(0.401, 0.3, 0.5))
    found = bars(BASELINE, [row], {})
    assert not found["smallest_ratio"]["met"]
    assert not found["fastest_ratio"]["met"]


@pytest.mark.parametrize("wall", [1.15, 1.151])
def test_overheads_are_met_up_to_their_targets(wall: float) -> None:
    """Both sides of the limit."""
    found = bars(BASELINE, [], {"static_int8": {"wall": wall, "cpu": 1.1, "memory": 1.21}})
    assert found["overhead_wall_static_int8"] == {"value": wall, "target": 1.15, "met": wall <= 1.15, "cpu": 1.1}
    assert not found["overhead_memory_static_int8"]["met"]


def test_what_was_not_measured_is_never_met() -> None:
    """No rows, errors alone, or an overhead that failed: every bar is there, without a value, and says why."""
    broken = Row("static-int8", "static-int8", True, error="crashed")
    found = bars(BASELINE, [broken], {"structured": "crashed too"})
    assert found.keys() == rows.TARGETS.keys()
    assert not any(bar["met"] for bar in found.values())
    assert all(bar["value"] is None and bar["why"] for bar in found.values())
    assert found["overhead_wall_structured"]["why"] == "crashed too"
    assert found["overhead_wall_static_int8"]["why"] == "was not asked for"


def test_a_row_has_figures_or_a_reason() -> None:
    """Neither and both are wrong."""
    with pytest.raises(ValueError, match="figures, or says why"):
        Row("x", "x", True)
    with pytest.raises(ValueError, match="figures, or says why"):
        Row("x", "x", True, FIGURES, "broken")


def test_the_table_shows_like_beside_like_and_every_error() -> None:
    """The whole text; our rows are bold, a reason cannot break the table."""
    found = [
        ours("best", top1=0.9),
        Row("static-int8", "static-int8", True, replace(FIGURES, latency=Interval(1.5, None, None))),
        Row("nncf-static", "NNCF, ONNX backend", False, error="nncf is not\ninstalled | sorry"),
    ]
    assert [row.name for row in in_order(found)] == ["nncf-static", "static-int8", "best"]
    assert table(BASELINE, found).splitlines()[2:] == [
        "|  | fp32 baseline | 400,000 | 1.0× | 360,000 | 350,000 | 90.00% |  | 1 |  |  |",
        "| static int8 | NNCF, ONNX backend | error: nncf is not installed \\| sorry |  |  |  |  |  |  |  |  |",
        "| static int8 | **static-int8** | 10,000 | 40.0× | 9,000 | 8,900 | 89.50% | −0.50 | 1.500 | 4.0 | 600 |",
        "| our best | **best** | 10,000 | 40.0× | 9,000 | 8,900 | 90.00% | +0.00 | 0.500 [0.480, 0.520] | 4.0 | 600 |",
    ]
    assert "| smallest_ratio | 40.000 | ≥ 40 | yes | best |" in bars_table(bars(BASELINE, found, {}))


def test_overhead_is_median_over_median() -> None:
    """One slow run changes nothing."""
    taken = [Spent(1.0, 1.0, 100), Spent(1.2, 1.0, 110), Spent(60.0, 1.0, 120)]
    assert ratios(taken, [Spent(1.0, 2.0, 100)] * 3) == {"wall": 1.2, "cpu": 0.5, "memory": 1.1}


def test_bounds_need_five_launches() -> None:
    """Four signs can all agree by chance more often than one time in twenty."""
    assert interval([0.0] * 4) == Interval(1.0, None, None)
    assert interval([0.0] * 5) == Interval(1.0, 1.0, 1.0)


def test_only_takes_patterns_and_refuses_what_matches_nothing() -> None:
    """All names, the overheads among them, without patterns."""
    names = ["ort-static", "static-int8"]
    assert wanted(names, []) == [*names, "overhead-static-int8", "overhead-structured"]
    assert wanted(names, ["ort-*"]) == ["ort-static"]
    with pytest.raises(InputError, match="'nncf' matches nothing"):
        wanted(names, ["nncf"])


def test_a_tool_that_is_not_installed_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message becomes the row's reason."""

    def missing(_: object) -> None:
        import a_library_that_nobody_has  # noqa: F401

    monkeypatch.setitem(peers.PEERS, "missing", Peer("missing", missing))
    assert child._peer("missing", str(tmp_path / "x.onnx")) == 2
    assert "a_library_that_nobody_has is not installed: pip install 'weighbridge[bench]'" in capsys.readouterr().err


def test_a_step_that_fails_says_its_last_line(tmp_path: Path) -> None:
    """And leaves no figures."""
    with pytest.raises(StepError, match="no-such"):
        run_step(["peer", "no-such", str(tmp_path / "x.onnx")], tmp_path)


def test_a_report_of_an_earlier_step_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """A failed step after a good one fails."""
    (tmp_path / "step.json").write_text('{"peak_bytes": 1}')
    with pytest.raises(StepError):
        run_step(["ours", "stage", "compress", "nothing"], tmp_path)


def test_a_step_has_one_thread_and_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the caller's environment says."""
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    seen = process.environment()
    assert {seen[name] for name in process.THREADS} == {"1"}
    assert (seen["NNCF_CI"], seen["ORT_DISABLE_TELEMETRY"]) == ("1", "1")


def test_the_peak_is_that_of_this_process_at_least() -> None:
    """A few megabytes more are seen."""
    before = child.peak_bytes()
    block = bytearray(before)  # zeros are given out without being touched
    block[::4096] = b"x" * len(block[::4096])
    assert child.peak_bytes() > 1.5 * before
    assert sys.getsizeof(block) > before


def test_files_that_cannot_be_weighed_are_rows_with_reasons(tmp_path: Path) -> None:
    """One that was not built, one that answers nonsense, one that cannot be timed: none is left out."""

    class Broken:
        """A weigher that fails on some."""

        def top1(self, path: Path) -> float:
            if path.name == "nan.onnx":
                raise MeasurementError("answers contain NaN", where="candidate")
            return 0.9

        def latencies(self, paths: list[Path], launches: object, say: object) -> dict[str, Any]:
            return dict.fromkeys(paths, "hung")

    step = Spent(1.0, 1.0, 1)
    built = {
        "fp16": "not built",
        "dynamic-int8": (tmp_path / "nan.onnx", step),
        "ort-static": (tmp_path / "a.onnx", step),
    }
    found = {row.name: row.error for row in weighed(built, Broken(), 1)}
    assert found == {"fp16": "not built", "dynamic-int8": "candidate: answers contain NaN", "ort-static": "hung"}
