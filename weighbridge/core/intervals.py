"""Exact bounds of one proportion, by the standard library alone: what report, record, card and site show is the same.

Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26, 1934. The binomial tail is a regularised incomplete beta function, here by its continued fraction
(NIST DLMF 8.17.22) with Lentz's method.
"""

from __future__ import annotations

import math

_TINY = 1e-300
_STEPS = 10_000


def clopper_pearson(successes: int, total: int, lower_alpha: float, upper_alpha: float) -> tuple[float, float]:
    """Bounds of a proportion, each missed with at most its own probability; `total` ≥ 1."""
    failures = total - successes
    lower = 0.0 if successes == 0 else _quantile(successes, failures + 1, lower_alpha)
    upper = 1.0 if failures == 0 else _quantile(successes + 1, failures, 1 - upper_alpha)
    return lower, upper


def beta_share(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b), 0 ≤ x ≤ 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction of the complement converges faster
        return 1 - beta_share(b, a, 1 - x)
    return math.exp(_log_density(a, b, x)) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    upper, lower = 1.0, 1 - (a + b) * x / (a + 1)
    lower = 1 / (lower if abs(lower) > _TINY else _TINY)
    found = lower
    for step in range(1, _STEPS):
        for term in (
            step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step)),
            -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1)),
        ):
            lower = 1 + term * lower
            upper = 1 + term / upper
            lower = 1 / (lower if abs(lower) > _TINY else _TINY)
            upper = upper if abs(upper) > _TINY else _TINY
            found *= upper * lower
        if abs(upper * lower - 1) < 1e-15:
            return found
    return found


def _quantile(a: float, b: float, share: float) -> float:
    """Where I_x(a, b) is `share`: Newton's method, and halves of the bracket where that leaves it."""
    low, high, x = 0.0, 1.0, a / (a + b)
    while True:
        apart = beta_share(a, b, x) - share
        low, high = (x, high) if apart < 0 else (low, x)
        density = math.exp(_log_density(a, b, x)) / (x * (1 - x))
        closer = x - apart / density if density > _TINY else low
        closer = closer if low < closer < high else (low + high) / 2
        if abs(closer - x) <= 1e-15 + 1e-13 * x or closer in (low, high):
            return closer
        x = closer


def _log_density(a: float, b: float, x: float) -> float:
    return math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
