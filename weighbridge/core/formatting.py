"""Numbers as people read them: kB, ms, %, points, times."""

from __future__ import annotations

import math

_STEPS: dict[str, tuple[tuple[float, str], ...]] = {
    "bytes": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "seconds": ((60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "count": ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
    "per_second": ((1e6, "M/s"), (1e3, "k/s"), (1.0, "/s")),
    "joules": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")),
    "fraction": ((1e-2, "%"),),
    "points": ((1e-2, "points"),),
    "ratio": ((1.0, "×"),),
    "score": ((1.0, ""),),
}
_TIGHT = ("×", "%")


def quantity(value: float | None, unit: str, digits: int = 4) -> str:
    """A value with its unit in the fitting scale: `quantity(133200, "bytes")` is `133.2 kB`; None is `–`."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    scale, suffix = _scale(_rounded(value, digits), unit)
    text = _plain(value / scale, digits)
    if suffix == "points" and text.lstrip("−") == "1":
        suffix = "point"
    return f"{text}{'' if suffix in _TIGHT else ' '}{suffix}".rstrip()


def span(low: float | None, high: float | None, unit: str) -> str:
    """Two bounds with their unit once: `span(-0.0083, 0.0042, "points")` is `−0.830 to 0.420 points`."""
    if low is None or high is None:
        bounds = [quantity(bound, unit, 3) if bound is not None else "no bound" for bound in (low, high)]
        return " to ".join(bounds)
    scale, suffix = _scale(max(abs(low), abs(high)), unit)
    largest = max(abs(low), abs(high)) / scale
    decimals = 0 if largest == 0 else min(12, max(0, 2 - math.floor(math.log10(largest))))
    # A narrow interval needs more digits than its ends alone would get.
    if high > low:
        decimals = max(decimals, min(12, 1 - math.floor(math.log10((high - low) / scale))))
    shown = [f"{bound / scale:,.{decimals}f}".replace("-", "−") for bound in (low, high)]
    return f"{shown[0]} to {shown[1]}{'' if suffix in _TIGHT else ' '}{suffix}".rstrip()


def contrast(value: float, limit: float, unit: str) -> tuple[str, str]:
    """Both numbers with as many digits as it takes to tell them apart, where they differ."""
    for digits in range(4, 13):
        shown = quantity(value, unit, digits), quantity(limit, unit, digits)
        if shown[0] != shown[1] or value == limit:
            return shown
    return repr(value), repr(limit)


def signed(text: str) -> str:
    """A difference that was formatted, with its sign in any case: `+1.2%`, `−1.2%`, `±0%`."""
    if text.startswith("−"):
        return text
    return f"{'+' if any(digit in text for digit in '123456789') else '±'}{text}"


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage: `percent(0.0512)` is `5.1%`."""
    return quantity(share, "fraction", digits)


def duration(seconds: float) -> str:
    """A rough time: `40 s`, `12 min`, `3 h`."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    if seconds < 5400:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 3600)} h"


def _scale(value: float, unit: str) -> tuple[float, str]:
    steps = _STEPS.get(unit, ((1.0, ""),))
    return next(((scale, suffix) for scale, suffix in steps if abs(value) >= scale), _floor(value, unit))


def _floor(value: float, unit: str) -> tuple[float, str]:
    steps = _STEPS.get(unit, ((1.0, ""),))
    if value == 0 and unit in ("seconds", "joules"):
        return steps[0] if unit == "joules" else (1.0, "s")
    return steps[-1]


def _rounded(value: float, digits: int) -> float:
    """To significant digits, so that 999,960 bytes are 1 MB and not 1,000 kB."""
    return float(f"{value:.{digits - 1}e}")


def _plain(number: float, digits: int) -> str:
    """`digits` significant digits without an exponent, thousands separated, trailing zeros dropped."""
    if number == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    text = f"{number:,.{min(decimals, 12)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")
