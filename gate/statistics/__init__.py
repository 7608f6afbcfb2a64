"""Statistics of the gate: small, exact where exactness is possible, tested against published tables.

- `centre`: signed-rank and sign tests of a centre with their bounds, over launch pairs
- `looks`: when a group-sequential gate may look, and what each look may spend
- `multiplicity`: Holm's step-down over a family of budgets
- `proportions`: Tango's and Newcombe's intervals for paired proportions, exact p-values, McNemar
- `resampled`: percentile bounds of a paired bootstrap
- `spread`: launch standard deviation, two modes, drift
- `planning`: how many examples or launch pairs a decision needs

Every function is pure; randomness comes in as a generator.
"""

from weighbridge.gate.statistics.centre import SIGN, SIGNED_RANK, Location, hodges_lehmann
from weighbridge.gate.statistics.looks import FAMILY_ALPHA, LAUNCH_ALPHA, LOOKS, PASS_ALPHA, looks_reached, next_look
from weighbridge.gate.statistics.multiplicity import Rejection, holm

__all__ = [
    "FAMILY_ALPHA",
    "LAUNCH_ALPHA",
    "LOOKS",
    "PASS_ALPHA",
    "SIGN",
    "SIGNED_RANK",
    "Location",
    "Rejection",
    "hodges_lehmann",
    "holm",
    "looks_reached",
    "next_look",
]
