"""How long a worker warms up, on a clock that the model itself moves."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from weighbridge.gate.measure import operations
from weighbridge.gate.measure.operations import Operations, settled

ASKED = {"inferences": 20, "seconds": 0.05, "settling_seconds": 0.3, "most_seconds": 1.0}


@pytest.mark.parametrize(
    ("milliseconds", "begin", "end"),
    [
        (lambda now: 1.0, 0.05, 0.06),  # as fast as ever
        (lambda now: 1.0 if now < 0.01 else 0.5, 0.05, 0.06),  # a start that is soon over
        (lambda now: 2.0 - 1.9 * min(1.0, now / 0.1), 0.2, 0.3),  # a clock that rises for 100 ms
        (lambda now: 2.0 * 0.5 ** (now * 10), 0.3, 0.31),  # ever faster: as long as is waited at most
        (lambda now: 30.0, 0.6, 0.75),  # twenty inferences
        (lambda now: 400.0, 1.2, 1.7),  # too slow for twenty
    ],
)
def test_a_model_is_warm_when_it_gets_no_faster(
    monkeypatch: pytest.MonkeyPatch, milliseconds: Callable[[float], float], begin: float, end: float
) -> None:
    """By the durations of its own inferences, never before 50 ms, never after 0.3 s unless few are done by then."""
    clock = [0]

    def run(_: object) -> list[np.ndarray]:
        clock[0] += int(1e6 * milliseconds(clock[0] / 1e9))
        return [np.zeros(1, np.float32)]

    monkeypatch.setattr(operations, "time", SimpleNamespace(perf_counter_ns=lambda: clock[0]))
    worker = Operations()
    worker.model, worker.feeds = SimpleNamespace(run=run), [{"x": np.zeros(1, np.float32)}]
    answer = worker.warm(dict(ASKED), b"")
    first = int(1e6 * milliseconds(0.0))
    assert begin <= (clock[0] - first) / 1e9 <= end
    assert answer["first_ns"] == first


def test_single_slow_inferences_do_not_keep_a_model_cold() -> None:
    """Other work on the machine delays some of the earlier ones; a real trend is in the fastest quarter."""
    calm = [100] * 40
    assert settled([500, 400, *calm, *calm])
    assert not settled([*[110] * 40, *calm])
