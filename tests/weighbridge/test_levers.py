"""The benchmark of levers: enough of them, and one pulled for real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_there_are_enough_levers_with_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty at least, and twenty harmless changes."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from levers_cases import HARMLESS, LEVERS

    names = [lever.name for lever in (*LEVERS, *HARMLESS)]
    assert len(LEVERS) >= 60
    assert len(HARMLESS) == 20
    assert len(set(names)) == len(names)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_benchmark_pulls_a_lever_for_real(tmp_path: Path) -> None:
    """A submodule is seen by the real command in a real repository; the figures say so."""
    out = tmp_path / "figures.json"
    command = [sys.executable, BENCHMARKS / "levers.py", "--only", "a submodule", "--json", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    figures = json.loads(out.read_text())
    assert figures["bars"]["levers_seen"] == {"value": 1, "target": 1, "met": True}, done.stdout
    assert "sub/helper.py differs" in figures["rows"]["levers"][0]["said"]
