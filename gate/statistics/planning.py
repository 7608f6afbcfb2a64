"""How much more evidence a decision needs."""

from __future__ import annotations

import math

from scipy import special


def examples_needed(discordance: float, margin: float, *, alpha: float = 0.05, power: float = 0.99) -> int | None:
    """Examples that show a paired difference to be within `margin`, where `discordance` of them disagree.

    None where the margin is zero: no number of examples would do.

    (z_alpha + z_power)^2 discordance / margin^2, about 15.8 discordance / margin^2: 3,155 for 2 % and one point.
    Where none disagrees, what Tango's bound itself needs: z^2 (1 - margin) / margin.
    """
    if not 0 < margin < 1:
        return None
    z = -float(special.ndtri(alpha))
    unavoidable = z * z * (1 - margin) / margin
    usual = (z + float(special.ndtri(power))) ** 2 * discordance / (margin * margin)
    return math.ceil(max(unavoidable, usual))


def pairs_needed(pairs: int, reach: float, distance: float) -> int | None:
    """Launch pairs until a bound that now reaches `reach` from the estimate clears a limit at `distance`.

    Bounds close in with the square root of the pairs. None where the estimate lies on the limit: no number would do.
    """
    if not math.isfinite(reach) or distance <= 0:
        return None
    needed = pairs * (reach / distance) ** 2
    return math.ceil(needed) if needed < 1e6 else None
