"""Which version answers a request: a hash of its key, never the time, so that one user always meets one version.

The canary's version salts the hash: a key that is in 5 per cent stays in when the share grows, and another canary
meets other users first.
"""

from __future__ import annotations

import hashlib


def share(purpose: str, version: str, key: str) -> float:
    """Where a key falls between 0 and 100, uniform over keys, independent for each purpose and version."""
    digest = hashlib.blake2b(f"{purpose}\0{version}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100


def goes_to_canary(version: str, weight: float, key: str) -> bool:
    """Whether the canary answers: for `weight` per cent of the keys."""
    return weight >= 100 or share("canary", version, key) < weight


def is_shadowed(version: str, percent: float, key: str) -> bool:
    """Whether a request that stable answers also goes to the canary, to be compared."""
    return percent >= 100 or share("shadow", version, key) < percent
