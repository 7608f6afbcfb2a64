"""How long a worker may take for one request."""

import pytest

from weighbridge.gate.weighing.time_outs import time_out


@pytest.mark.parametrize(
    ("most_seconds", "size", "seconds"),
    [(1.0, 0, 15.0), (30.0, 0, 30.0), (3600.0, 0, 60.0), (3600.0, 2_600_000_000, 190.0)],
)
def test_a_large_model_is_no_hung_one(most_seconds: float, size: int, seconds: float) -> None:
    """Within the time limit, a minute at most, and more by the bytes that are read first."""
    assert time_out(most_seconds, size) == seconds
