"""How long a launch is, and what counts as a disturbance: for models from microseconds to seconds."""

import numpy as np
import pytest

from weighbridge.core.errors import MeasurementError
from weighbridge.gate.measure.bench import descheduled
from weighbridge.gate.measure.launch_setup import LaunchProtocol
from weighbridge.gate.measure.launches import Cores, Setup, summarise
from weighbridge.gate.measure.recording import Burst, Bursts, Phase, Recording


@pytest.mark.parametrize(
    ("milliseconds", "rounds"), [(0.1, 50), (10, 50), (20, 25), (50, 15), (140, 11), (210, 8), (1000, 5), (30_000, 5)]
)
def test_slow_models_take_fewer_rounds_in_a_launch(milliseconds: float, rounds: int) -> None:
    """Two bursts of so long a round: fifty of the fastest, fifteen while they fit into three seconds, five at
    least. The time goes to more launches, which are what is independent.
    """
    protocol = LaunchProtocol()
    most = protocol.rounds_of(2 * milliseconds / 1e3)
    taken = recording(most, milliseconds).phases["latency"].rounds
    assert next((n for n in range(most) if protocol.enough(taken[:n])), most) == rounds


@pytest.mark.parametrize(("milliseconds", "rounds"), [(0.1, 100), (10, 50), (50, 15)])
def test_percentiles_rest_on_twice_the_rounds_of_fast_models(milliseconds: float, rounds: int) -> None:
    """They need single inferences, of which a median has plenty."""
    assert LaunchProtocol().rounds_of(2 * milliseconds / 1e3, tails=True) == rounds


@pytest.mark.parametrize(
    ("answer", "milliseconds", "lost"),
    [
        ({"switches": 0, "waited_ns": 10**9}, 500, False),
        ({"switches": 1, "waited_ns": 2_000}, 1, True),
        ({"switches": 7, "waited_ns": 40_000}, 500, False),
        ({"switches": 1, "waited_ns": 4_000_000}, 500, True),
        ({"switches": 1, "waited_ns": None}, 500, True),
        ({"switches": 1}, 500, True),
        ({"switches": 1, "waited_ns": -5}, 500, True),
        ({"switches": 1, "waited_ns": True}, 500, True),
    ],
)
def test_a_long_burst_is_disturbed_by_what_it_loses_and_a_short_one_by_any_switch(
    answer: dict[str, int | None], milliseconds: int, lost: bool
) -> None:
    """And where the kernel does not say how much was lost, every switch counts."""
    assert descheduled(answer, milliseconds * 1_000_000) is lost


def recording(rounds: int, milliseconds: float) -> Recording:
    """Two roles whose bursts of two inferences took so long."""
    each = np.full(2, int(milliseconds * 1e6 * 0.45), np.int64)
    burst = Burst(each, int(milliseconds * 1e6))
    bursts = Bursts({"baseline": burst, "candidate": burst}, disturbed=False)
    fact = {"load_ns": 1, "first_ns": 1, "memory": 1, "empty": 1}
    return Recording({"baseline": fact, "candidate": fact}, {"latency": Phase(2, (bursts,) * rounds)})


def test_few_rounds_are_a_launch_only_where_each_is_long() -> None:
    """A device that sends five short rounds has not taken a launch."""
    setup = Setup({}, {}, (), LaunchProtocol(), Cores((0,), (0,)))
    metrics = frozenset({"latency.p50"})
    assert summarise(recording(5, 1000), setup, metrics).samples["latency.p50"] == 5
    with pytest.raises(MeasurementError, match="gave 5 rounds of 2 inferences"):
        summarise(recording(5, 2), setup, metrics)
    with pytest.raises(MeasurementError, match="gave 4 rounds"):
        summarise(recording(4, 1000), setup, metrics)
