"""Pictures of a search: one file each, the same for the same results, and a page that shows results as text."""

import copy
from pathlib import Path

from weighbridge.search.front.pictures import write_pictures

RUNG = {"epochs": 10, "digest": "sha256:1", "bytes": 900, "drop": 0.01, "lower": 0.0, "upper": 0.02, "flips": 0.01}
FOUND = {
    "target": "onnxruntime",
    "baseline": {"bytes": 4000},
    "limit": 0.02,
    "trials": [
        {"number": 0, "values": {}, "ended": "whole", "rungs": [RUNG], "ratio": 0.8},
        {"number": 1, "values": {}, "ended": "dominated", "rungs": [{**RUNG, "bytes": 2000}], "ratio": 0.9},
        {"number": 2, "values": {}, "ended": "budget", "rungs": [{**RUNG, "bytes": 3900}], "ratio": None},
        {"number": 3, "values": {}, "ended": "hopeless", "rungs": [{**RUNG, "bytes": 500}], "ratio": 0.7},
    ],
    "confirmed": [
        {"number": 0, "holds": True, "drop": 0.01, "lower": 0.0, "upper": 0.02}
        | {"ratio": 0.8, "ratio_lower": 0.78, "ratio_upper": 0.83}
    ],
    "importance": {"form": 0.7, "width": 0.3},
}


def test_pictures_and_a_page(tmp_path: Path) -> None:
    """Three files, the same bytes twice; what the text says is escaped."""
    page = write_pictures(tmp_path, FOUND, "a < b")
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {"front.png", "history.png", "importance.png", "search.html"}
    assert "a &lt; b" in page.read_text()
    assert page.read_text().count("<svg") == 3
    write_pictures(tmp_path, FOUND, "a < b")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_search_without_times_or_trials_has_pictures_too(tmp_path: Path) -> None:
    """Accuracy stands in for latency; nothing to show is shown as such."""
    untimed = copy.deepcopy(FOUND)
    for item in (*untimed["trials"], *untimed["confirmed"]):
        item["ratio"] = None
    write_pictures(tmp_path / "untimed", untimed, "")
    assert "points of accuracy lost" in (tmp_path / "untimed/search.html").read_text()
    write_pictures(tmp_path / "empty", {**untimed, "trials": [], "confirmed": [], "importance": {}}, "")
    assert "too few trials" in (tmp_path / "empty/search.html").read_text()
