"""Energy by the processor's own counters (RAPL), or the reason why there is none. Nothing is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
WINDOW_SECONDS = 1.0
"""Shortest window: the counters move about once a millisecond, and a package does other things too."""


@dataclass(frozen=True)
class Counters:
    """The package domains of RAPL: files in microjoules that wrap around at a known value."""

    domains: tuple[Path, ...]

    def read(self) -> tuple[int, ...]:
        """Microjoules of each domain since an arbitrary moment."""
        return tuple(int((domain / "energy_uj").read_text()) for domain in self.domains)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Energy between two readings over all packages, one wrap-around allowed."""
        total = 0
        for domain, first, last in zip(self.domains, before, after, strict=True):
            wrap = int((domain / "max_energy_range_uj").read_text()) + 1 if last < first else 0
            total += last - first + wrap
        return total / 1e6


def counters(powercap: Path = POWERCAP) -> Counters | str:
    """The readable package counters, or why energy cannot be measured here."""
    try:
        found = sorted(path for path in powercap.glob("intel-rapl:*") if path.name.count(":") == 1)
    except OSError:
        found = []
    if not found:
        return "this machine shows no RAPL energy counters (no intel-rapl domain in /sys/class/powercap)"
    chosen = Counters(tuple(found))
    try:
        chosen.read()
    except (OSError, ValueError) as error:
        return f"the RAPL energy counters cannot be read ({error}); they need root or a udev rule"
    return chosen
