"""Quantities with their units, as people write them: `60s`, `7kB`, `2 points`."""

from __future__ import annotations

import re
from typing import Any, Literal

Unit = Literal["bytes", "seconds", "count", "fraction", "per_second", "joules", "score"]
_SCALE: dict[Unit, dict[str, float]] = {
    "bytes": {
        "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
        "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
    },
    "seconds": {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60, "h": 3600},
    "count": {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9},
    "fraction": {"%": 1e-2},
    "per_second": {"/s": 1, "k/s": 1e3},
    "joules": {"J": 1, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6},
    "score": {},
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%/]*)\s*")


def parse_quantity(value: float | str, unit: Unit, *, needs_unit: bool = False) -> float:
    """A number in the unit's base form: `200kB` → 200000.0 bytes, `5ms` → 0.005 seconds, `1%` → 0.01.

    Plain numbers are in base units; with `needs_unit`, times and bytes without a unit are refused. A unit of another
    kind, NaN and infinities are a `ValueError`.
    """
    if isinstance(value, bool):
        raise ValueError(f"expected a number of {unit}")  # noqa: TRY004  # pydantic turns it into one clear line
    if isinstance(value, int | float):
        number, suffix = float(value), ""
    else:
        match = _QUANTITY.fullmatch(value)
        if not match:
            raise ValueError(f"expected a number with an optional unit ({_examples(unit)})")
        number, suffix = float(match[1]), match[2]
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124  # NaN
        raise ValueError("expected a finite number")
    if suffix and suffix not in _SCALE[unit]:
        raise ValueError(f"the unit {suffix!r} does not measure {unit} ({_examples(unit)})")
    if needs_unit and not suffix and unit in ("bytes", "seconds"):
        raise ValueError(f"expected a number with its unit ({_examples(unit)})")
    return number * _SCALE[unit].get(suffix, 1)


def is_plain(value: Any) -> bool:
    """Whether a value is a number, or text that reads as one: without a unit."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_duration(value: Any, key: str) -> None:
    """Raise `ValueError` with the line to write where a time is a plain number, which may mean anything."""
    if is_plain(value):
        raise ValueError(f"{key} needs a unit: write `{key}: {str(value).strip()}s` for seconds")


def _examples(unit: Unit) -> str:
    suffixes = ", ".join(f"1{suffix}" for suffix in _SCALE[unit])
    return f"such as {suffixes}" if suffixes else "a plain number"
