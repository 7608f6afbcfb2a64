from pathlib import Path

import pytest

from weighbridge.gate.measure.energy import Counters, counters


def domain(folder: Path, name: str, energy: int, most: int = 1_000_000) -> Path:
    path = folder / name
    path.mkdir()
    (path / "energy_uj").write_text(f"{energy}\n")
    (path / "max_energy_range_uj").write_text(f"{most}\n")
    return path


def test_packages_are_added_and_their_parts_left_out(tmp_path: Path) -> None:
    """Two packages count; a core domain within one is part of it."""
    first, second = domain(tmp_path, "intel-rapl:0", 100), domain(tmp_path, "intel-rapl:1", 50)
    domain(tmp_path, "intel-rapl:0:0", 70)
    found = counters(tmp_path)
    assert found == Counters((first, second))
    before = found.read()
    (first / "energy_uj").write_text("600100")
    (second / "energy_uj").write_text("400050")
    assert found.joules(before, found.read()) == pytest.approx(1.0)


def test_a_counter_that_wraps_around_is_followed(tmp_path: Path) -> None:
    """From just below its range to just above zero."""
    path = domain(tmp_path, "intel-rapl:0", 999_990)
    found = counters(tmp_path)
    before = found.read()
    (path / "energy_uj").write_text("9")
    assert found.joules(before, found.read()) == pytest.approx(20e-6)


def test_no_counters_is_a_reason_and_no_number(tmp_path: Path) -> None:
    """A machine without RAPL, or a container without /sys: nothing is guessed."""
    assert "no RAPL" in str(counters(tmp_path))
    assert "no RAPL" in str(counters(tmp_path / "nothing"))


def test_counters_that_cannot_be_read_are_a_reason(tmp_path: Path) -> None:
    """Only root may read them on many systems; garbage is no reading either."""
    path = domain(tmp_path, "intel-rapl:0", 1)
    (path / "energy_uj").write_text("secret")
    assert "cannot be read" in str(counters(tmp_path))
