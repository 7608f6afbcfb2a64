"""`benchmarks/size.py`: what it counts as memory, and every bar can be missed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import size
from benchmarks.sizing import explaining, large_road, slow_models
from benchmarks.sizing.slow_models import Heard, said
from benchmarks.sizing.stage_process import run

FILL = "import time; x = b'x' * 10 ** 8; time.sleep(0.5)"
HUNGRY = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FILL!r}])"


def test_memory_of_a_child_is_counted(tmp_path: Path) -> None:
    """The largest process of a command, which need not be the one that was started."""
    assert run([sys.executable, "-c", HUNGRY], tmp_path).peak > 10**8
    assert run([sys.executable, "-c", "pass"], tmp_path).peak < 10**8


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    """The road does not go on without it."""
    with pytest.raises(RuntimeError, match="exit 3\ngone"):
        run([sys.executable, "-c", "import sys; print('gone'); sys.exit(3)"], tmp_path)


def road(**changed: Any) -> dict[str, Any]:
    """Figures of a road that keeps every bar, with changes."""
    stage = {"seconds": 1, "processor": 1, "peak": 300, "together": 300}
    stages = {f"{kind}@{name}": stage for kind in ("compress", "weigh") for name in large_road.RECIPES}
    return {
        "file": 100, "bytes": {"baseline": 100, "fp16": 50, "int8": 25, "int4": 15}, "libraries": 100,
        "stages": stages, "runtime": dict.fromkeys(("baseline", *large_road.RECIPES), stage),
        "verdict": "pass", "pulled": True, **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"verdict": "fail"}, ["road: verdict is pass (0: yes)"]),
        ({"pulled": False}, ["road: other bytes pulled than promoted"]),
        ({"libraries": 0}, [f"road: {name}: lowering / file" for name in large_road.RECIPES]),
        ({"bytes": {"baseline": 100, "fp16": 60, "int8": 25, "int4": 15}}, ["road: fp16: bytes / baseline"]),
        (
            {"runtime": {name: {"peak": 200} for name in ("baseline", *large_road.RECIPES)}},
            [f"road: {name}: weighing / runtime" for name in large_road.RECIPES],
        ),
    ],
)
def test_every_bar_of_the_road_can_be_missed(changed: dict[str, Any], missed: list[str]) -> None:
    """Sizes, memory, verdict and the bytes that arrived."""
    assert [name for name, value, bar in large_road.rows(road(**changed)) if value > bar] == missed


def test_a_weighing_is_held_to_what_it_said() -> None:
    """Ten pairs at the price of the first are the plan; one that never said anything misses it."""
    heard = Heard(0.0, plan=(7.0, "a launch pair takes 2 s"), first=5.0, decided="decided after 10 launch pairs")
    assert said(heard, 30.0)["over_plan"] == 1.25
    for changed, missed in (({}, []), ({"verdict": "inconclusive"}, [1.0]), ({"over_plan": None}, [float("inf")])):
        case = {"right": "pass", "verdict": "pass", "over_plan": 1.25, **changed}
        held = slow_models.rows({"5 ms": {"twin": case}})
        assert [value for _, value, bar in held if value > bar] == missed
    assert said(Heard(0.0), 30.0) == {"plan": None, "pairs": None, "over_plan": None}


def test_a_missed_bar_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the figures of sections that were left out stay."""
    path = tmp_path / "size.json"
    before = {"auto: 5 ms: seconds / plan": size.bar(1.1, 1.3)}
    path.write_text(json.dumps({"rows": {"auto": {}}, "bars": before}))
    slow = {"pruned": {"seconds": [9, 11, 12], "processor": [9, 9, 9]}}
    monkeypatch.setitem(size.SECTIONS, "explain", (lambda *_: slow, explaining.rows))
    monkeypatch.setattr(sys, "argv", ["size.py", "--json", str(path), "--only", "explain"])
    with pytest.raises(SystemExit) as ended:
        size.main()
    assert ended.value.code == 1
    assert "MISSED  explain: pruned: seconds: 11.00 (at most 10)" in capsys.readouterr().out
    bars = {**before, "explain: pruned: seconds": {"value": 11.0, "target": 10.0, "met": False}}
    assert json.loads(path.read_text()) == {"rows": {"auto": {}, "explain": slow}, "bars": bars}


def test_auto_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each weighing is kept at once; the models that are asked for have their bars beside those of before."""
    path = tmp_path / "size.json"
    case = {"right": "pass", "verdict": "pass", "over_plan": 1.0}
    taken: list[int] = []

    def weighed(_: Path, milliseconds: int, found: dict[str, Any], keep: Callable[[], None]) -> None:
        for name in ("one", "other"):
            if name in found:
                continue
            if len(taken) == 1:
                taken.append(0)
                raise KeyboardInterrupt
            taken.append(milliseconds)
            found[name] = {**case, "verdict": "fail" if milliseconds == 70 else "pass"}
            keep()

    def run_auto(milliseconds: int) -> Any:
        monkeypatch.setattr(
            sys, "argv", ["size.py", "--json", str(path), "--only", "auto", "--milliseconds", str(milliseconds)]
        )
        with pytest.raises(SystemExit) as ended:
            size.main()
        return ended.value.code

    monkeypatch.setattr(slow_models, "weighed", weighed)
    with pytest.raises(KeyboardInterrupt):
        run_auto(5)
    assert [run_auto(5), run_auto(70), run_auto(500)] == [0, 1, 1]
    assert taken == [5, 0, 5, 70, 70, 500, 500]
    assert list(json.loads(path.read_text())["rows"]["auto"]) == ["5 ms", "70 ms", "500 ms"]


QUIETLY = ("quiet", "timeout", "480")


def test_only_weighings_run_behind_the_quiet_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the road may run beside anything."""
    commands: list[tuple[str, ...]] = []

    class StoppedError(Exception):
        """The road's end here."""

    def stage(_: Any, name: str, *command: str, **__: Any) -> None:
        commands.append(command)
        if name == "gate":
            raise StoppedError

    monkeypatch.setattr(large_road._Road, "begin", lambda *_: 1)
    monkeypatch.setattr(large_road._Road, "stage", stage)
    with pytest.raises(StoppedError):
        large_road.travelled(tmp_path, 1, QUIETLY)
    behind = [command for command in commands if command[:3] == QUIETLY]
    assert [command[-1] for command in behind] == [f"weigh@{name}" for name in large_road.RECIPES]
    assert [command[-1] for command in commands if "weigh" in command[-1]] == [command[-1] for command in behind]


def test_what_the_road_commits_is_pushed(tmp_path: Path) -> None:
    """A promotion needs the commit that it is about on the remote."""
    road = large_road._Road(tmp_path, {})
    road.git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "server.git")
    road.git(tmp_path, "init", "--quiet", "--initial-branch=main", "mlp")
    road.git(road.home, "remote", "add", "origin", "../server.git")
    for content in ("first", "second"):
        (road.home / "file").write_text(content)
        road.commit(content)
    road.git(tmp_path, "clone", "--quiet", "server.git", "clone")
    assert (road.clone / "file").read_text() == "second"


def test_what_was_not_measured_meets_no_bar() -> None:
    """Nothing missing passes."""
    assert size.bar(float("inf"), 1.3) == {"value": None, "target": 1.3, "met": False}
    assert not size.bar(float("nan"), 1.3)["met"]
