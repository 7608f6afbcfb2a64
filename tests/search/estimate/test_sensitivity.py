"""Each choice's damage, bytes and time by itself; times are those that were measured."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.search.project import project
from weighbridge.core.errors import MeasurementError
from weighbridge.core.progress import silent
from weighbridge.search.estimate.choice_times import timer_of
from weighbridge.search.estimate.sensitivity import Effect, effects, in_order
from weighbridge.search.problem.searched_model import Source, space_of, untrained_source

SECTION = {
    "widths": [0.25, 0.5],
    "schemes": ["static-int8", "weight-int8"],
    "techniques": ["prune-channels", "quantize"],
}


class Deep(nn.Module):
    """Features (n, 16) → logits (n, 3), with a layer that can go."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU())
        self.classes = nn.Linear(24, 3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.classes(self.hidden(features))


def deep(root: Path, **section: Any) -> Source:
    """The source of a project whose model can lose a layer, not trained."""
    model = {"name": "deep", "factory": f"{__name__}:Deep"}
    return untrained_source(project(root, model=model, search={**SECTION, **section}))


def by_choice(found: list[Effect]) -> dict[tuple[str, Any], Effect]:
    """Effects by knob and value."""
    return {(item.knob, item.value): item for item in found}


def test_times_are_measured_and_those_between_follow_the_work(tmp_path: Path) -> None:
    """Of shapes the strongest is timed; forms are timed at a middle width, beside floats of that width."""
    asked: list[str] = []

    def time(files: Mapping[str, bytes]) -> dict[str, float]:
        asked.extend(files)
        return {name: 0.6 if name.startswith(("width", "without")) else 0.5 for name in files} | {"middle": 0.4}

    source = deep(tmp_path, techniques=["prune-layers", "prune-channels", "quantize"])
    space = space_of(source)
    found = by_choice(effects(source, space, silent, time))
    assert asked == [*strongest(space.knobs), "form static-int8", "form weight-int8", "middle"]
    assert found["without:hidden.2", True].time == pytest.approx(math.log(0.6))
    assert found["form", "static-int8"].time == pytest.approx(math.log(0.5 / 0.4))
    half, quarter = found["width:hidden.2", 0.5], found["width:hidden.2", 0.25]
    assert half.time == pytest.approx(math.log(0.6))
    assert half.time < quarter.time < 0
    assert found["width:hidden.2", 0.0] == Effect("width:hidden.2", 0.0, 0.0, 0.0, 0.0)


def strongest(knobs: Mapping[str, Any]) -> list[str]:
    """The choices of shapes that are timed."""
    return [f"{name} {values[-1]}" for name, values in knobs.items() if name.startswith(("width", "without"))]


def test_without_a_clock_time_is_work(tmp_path: Path) -> None:
    """Multiply-accumulates of the whole module; forms change none."""
    source = deep(tmp_path)
    found = by_choice(effects(source, space_of(source), silent))
    macs = 16 * 24 + 24 * 24 + 24 * 3
    left = 16 * 24 + 24 * 12 + 12 * 3
    assert found["width:hidden.2", 0.5].time == pytest.approx(math.log(left / macs))
    assert found["form", "static-int8"].time == 0


def test_a_choice_that_cannot_be_timed_is_none(tmp_path: Path) -> None:
    """A form that broke its worker is left out; a width is known by its work."""
    source = deep(tmp_path)
    found = by_choice(effects(source, space_of(source), silent, lambda _: {"form weight-int8": 0.9}))
    assert ("form", "static-int8") not in found
    assert found["form", "weight-int8"].time == pytest.approx(math.log(0.9))
    assert ("width:hidden.2", 0.25) in found


def test_what_tells_most_comes_first_and_the_rest_may_be_left_out(tmp_path: Path) -> None:
    """Schemes, the strongest shapes, weaker ones, then what is packed; from when it is late nothing more is made."""
    source = deep(tmp_path, techniques=["prune-channels", "prune-weights", "quantize", "share"], bits=[2])
    space = space_of(source)
    order = in_order(space)
    assert [value for name, value in order[:2]] == ["static-int8", "weight-int8"]
    assert order[2:4] == [("width:hidden.2", 0.5), ("width:hidden.2", 0.25)] or {v for _, v in order[2:4]} == {0.5}
    assert {name for name, _ in order[-6:]} == {"sparsity", "form"}
    looks = iter(range(100))
    found = effects(source, space, silent, late=lambda: next(looks) == 3)
    assert [(item.knob, item.value) for item in found if item.value not in (0.0, "none")] == [
        (order[2][0], 0.5),
        ("form", "static-int8"),
        ("form", "weight-int8"),
    ]


class Ratio:
    """A measured ratio."""

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio


class Fragile:
    """A bench on which files that begin with `bad` break their worker."""

    baseline = Path("baseline.onnx")

    def __init__(self) -> None:
        self.timed: list[list[str]] = []

    def time(self, files: Mapping[str, Path], _: int) -> dict[str, Ratio]:
        self.timed.append(list(files))
        if any(path.read_bytes().startswith(b"bad") for path in files.values()):
            raise MeasurementError("the worker died", where="bench")
        return {name: Ratio(len(path.read_bytes())) for name, path in files.items()}


def test_one_file_that_breaks_its_worker_costs_no_other_its_time(tmp_path: Path) -> None:
    """It is found by halves, and nothing stays on the disk."""
    files = {"a": b"1", "b": b"22", "c": b"bad", "d": b"4444", "e": b"1"}
    bench = Fragile()
    found = timer_of(bench, tmp_path / "choices")(files)
    assert found == {"a": 1, "b": 2, "d": 4, "e": 1}
    assert len(bench.timed) < 2 * len(files)
    assert list((tmp_path / "choices").iterdir()) == []
