import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.launch_setup import Cores, LaunchProtocol, Setup
from weighbridge.gate.weighing.accumulator import Series
from weighbridge.gate.weighing.other_inputs import other_inputs, slower_elsewhere

RNG = np.random.default_rng(1)
FLOATS = RNG.standard_normal((20, 4)).astype(np.float32)
TOKENS = RNG.integers(0, 50, (20, 16))


def setup(**inputs: NDArray[np.float32]) -> Setup:
    return Setup({}, inputs or {"x": FLOATS}, (), LaunchProtocol(), Cores((0,), (0,)))


def test_other_inputs_are_like_the_given_ones_and_none_of_them() -> None:
    """Types, shapes and ranges stay; a token in a place is one that stands there in another example."""
    made = other_inputs({"x": FLOATS, "t": TOKENS}, np.random.default_rng(0))
    assert {name: (array.dtype, array.shape[1:]) for name, array in made.items()} == {
        "x": (np.float32, (4,)), "t": (np.int64, (16,)),
    }  # fmt: skip
    assert not (made["x"][:, None] == FLOATS[None]).all(axis=2).any()
    assert made["x"].min() >= FLOATS.min()
    assert made["x"].max() <= FLOATS.max()
    assert all(set(made["t"][:, place]) <= set(TOKENS[:, place]) for place in range(16))


def test_without_another_example_there_is_no_other_input() -> None:
    """A single example cannot be mixed with anything."""
    assert other_inputs({"x": FLOATS[:1]}, np.random.default_rng(0)) is None
    assert slower_elsewhere(lambda *_: pytest.fail("took a launch"), setup(x=FLOATS[:1]), usual(1.0), 1) == []
    assert slower_elsewhere(lambda *_: pytest.fail("took a launch"), setup(), None, 1) == []


def usual(factor: float) -> Series:
    """Launches on the test set."""
    return Series(log_ratio=[math.log(factor)] * 3)


def ratios(*factors: float) -> Callable[..., Any]:
    """Launches on other inputs whose candidate takes so many times as long as the baseline."""
    left = list(factors)
    return lambda *_: SimpleNamespace(log_ratios={"latency.p50": {("candidate", "baseline"): math.log(left.pop(0))}})


def test_a_candidate_that_knows_the_test_set_is_named() -> None:
    """Half the baseline's time on the test set, three times it elsewhere; one launch alone is not believed."""
    (said,) = slower_elsewhere(ratios(3.0, 2.5), setup(), usual(0.5), 1)
    assert said.startswith("The candidate takes 5.0 times as long beside the baseline for inputs that are like")
    assert slower_elsewhere(ratios(0.55), setup(), usual(0.5), 1) == []
    assert slower_elsewhere(ratios(3.0, 0.5), setup(), usual(0.5), 1) == []


def test_what_cannot_be_timed_there_is_said() -> None:
    """A model that breaks on other inputs breaks in use."""

    def broken(*_: object) -> NoReturn:
        raise MeasurementError("crashed by signal 11", where="candidate")

    assert slower_elsewhere(broken, setup(), usual(1.0), 1)[0].endswith("could not be timed: crashed by signal 11.")
