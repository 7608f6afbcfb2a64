"""When a group-sequential gate may look at its data, and what each look may spend.

The error a gate may make is divided in equal steps over five looks, whatever the data say at each, so that
stopping at the first look that decides, or continuing a measurement in a later run, keeps the promised rates
(Bonferroni over looks; the group-sequential idea is Pocock's, Biometrika 64, 1977).
"""

from __future__ import annotations

LOOKS = (10, 16, 24, 36, 54)
"""Launch pairs at which the gate looks. Pairs beyond the last look reached wait for the next one."""

FAMILY_ALPHA = 0.01
"""Probability that any of the noisy budgets fails although each true value is within its limit."""

PASS_ALPHA = 0.05
"""Probability that one budget passes although its true value is beyond the limit."""


def looks_reached(pairs: int) -> tuple[int, ...]:
    """The looks that this many launch pairs allow, in order; empty below the first."""
    return tuple(look for look in LOOKS if look <= pairs)


def next_look(pairs: int) -> int | None:
    """The first look that needs more than this many launch pairs; None after the last."""
    return next((look for look in LOOKS if look > pairs), None)


def spend(alpha: float) -> float:
    """What one look may spend of `alpha`."""
    return alpha / len(LOOKS)
