"""One figure beside its bar."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate


@dataclass(frozen=True)
class Row:
    """A count or a number that a trial came to."""

    name: str
    """What it says, as an identifier."""
    value: float
    of: int
    """Runs that were counted, or observations behind the number."""
    bar: str = ""
    """What it has to reach; empty where it is shown for comparison."""
    met: bool | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def at_most(name: str, found: int, runs: int, share: float, note: str = "") -> Row:
    """A count that may be at most a share of the runs."""
    return Row(name, found, runs, f"<= {share:.1%}", found <= share * runs, note)


def at_least(name: str, found: int, runs: int, share: float, note: str = "") -> Row:
    """A count that must be at least a share of the runs."""
    return Row(name, found, runs, f">= {share:.0%}", found >= share * runs, note)


def none_of(name: str, found: int, runs: int, note: str = "") -> Row:
    """A count that must be zero."""
    return Row(name, found, runs, "0", found == 0, note)


def below(name: str, value: float, limit: float, of: int, note: str = "") -> Row:
    """A number that must not exceed a limit."""
    return Row(name, round(value, 3), of, f"<= {limit:g}", value <= limit, note)


def table(rows: list[Row]) -> str:
    """Markdown."""
    return tabulate([asdict(row) for row in rows], headers="keys", tablefmt="github", floatfmt=".4g")
