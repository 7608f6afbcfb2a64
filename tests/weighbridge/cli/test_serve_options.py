"""How `weighbridge serve` reads what is written on its command line."""

import pytest

from weighbridge.cli.serve_options import Runs, Treated, Where
from weighbridge.core.errors import InputError
from weighbridge.serve.models.batching import Batching
from weighbridge.serve.server import Listening


def test_what_is_not_written_is_as_the_server_has_it() -> None:
    assert Runs().settings() == Batching()
    assert Where().settings() == Listening()
    assert Treated(sample=0.0).settings().limits.body_bytes == 16 * 2**20


def test_times_are_read_with_their_units() -> None:
    found = Runs(batch_delay="2ms", timeout="1min", spin="50us").settings()
    assert (found.delay, found.patience, found.spin) == (0.002, 60.0, pytest.approx(50e-6))
    assert Runs(spin="0s").settings().spin == 0


@pytest.mark.parametrize(
    ("runs", "said"),
    [(Runs(spin="500"), "--spin"), (Runs(spin="-1ms"), "--spin: is negative"), (Runs(timeout="soon"), "--timeout")],
    ids=str,
)
def test_a_time_without_a_unit_or_below_zero_is_refused_by_its_option(runs: Runs, said: str) -> None:
    with pytest.raises(InputError, match=said):
        runs.settings()
