"""When a group-sequential gate may look at its data, and what each look may spend.

The error a gate may make is divided over five looks in fixed shares, whatever the data say at each, so that
stopping at the first look that decides, or continuing a measurement in a later run, keeps the promised rates
(Bonferroni over looks; the group-sequential idea is Pocock's, Biometrika 64, 1977).
"""

from __future__ import annotations

import math

LOOKS = (10, 16, 24, 36, 54)
"""Launch pairs at which the gate looks. Pairs beyond the last look reached wait for the next one."""

FAMILY_ALPHA = 0.01
"""Probability that any required budget of a family fails although each true value is within its limit: the promise."""

LAUNCH_ALPHA = 0.002
"""What budgets on launches spend of that promise.

A fifth, because what the promise rests on (launches that are independent, and spread evenly around their centre) holds
nearly on real machines, not exactly; and because it costs little: docs/adr/0032-a-fifth-of-the-promise.md.
"""

PASS_ALPHA = 0.05
"""Probability that one budget passes although its true value is beyond the limit."""

FAIL_SHARES = {10: 1 / 2, 16: 1 / 8, 24: 1 / 8, 36: 1 / 8, 54: 1 / 8}
"""What each look may spend on FAIL. Half at the first, where ten pairs cannot show less than 1/1024: obvious failures
are found there by a budget that stands alone.
"""
PASS_SHARES = dict.fromkeys(LOOKS, 1 / len(LOOKS))
"""What each look may spend on PASS: equal steps."""

CONTROLS = 6
"""Null controls before any look decides: the fewest that bound the centre at one-sided 5 % and let one disagree."""
CONTROL_EVERY = 4
"""Afterwards, one launch in so many has a second baseline."""


def controls_due(launches: int) -> int:
    """Null controls that so many launches must have had: six by the first look, a quarter of the launches later."""
    early = min(CONTROLS, math.ceil(CONTROLS * launches / LOOKS[0]))
    return max(early, math.ceil(launches / CONTROL_EVERY))


def looks_reached(pairs: int) -> tuple[int, ...]:
    """The looks that this many launch pairs allow, in order; empty below the first."""
    return tuple(look for look in LOOKS if look <= pairs)


def next_look(pairs: int) -> int | None:
    """The first look that needs more than this many launch pairs; None after the last."""
    return next((look for look in LOOKS if look > pairs), None)
