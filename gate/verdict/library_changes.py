"""What a change does to the locked libraries, in requirement and lock files. Pure: the caller reads both sides."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weighbridge.core.documents import PolicyChange
from weighbridge.core.files import sha256_bytes
from weighbridge.gate.verdict.demanded_libraries import PIN, Demand, libraries
from weighbridge.gate.verdict.pipeline_changes import ABSENT, short

GATE = "weighbridge"
_SHOWN = 4
_VERSION = re.compile(r"\d+(\.\d+)*")


def library_change(path: str, base: bytes | None, head: bytes | None) -> PolicyChange | None:
    """One file of libraries: `library upgraded` where each that differs is newer or added, else `library`.

    An upgrade of this program itself is `gate code`. None where both sides ask for the same: comments and order are no
    change.
    """
    if base == head:
        return None
    before, after = libraries(path, base), libraries(path, head)
    if before is None or after is None:
        names, changed, upgraded = [], [f"{path} differs"], False
    else:
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        changed = [_shown(name, before.get(name), after.get(name)) for name in names]
        upgraded = base is not None and head is not None and all(_newer(n, before, after) for n in names)
    if not changed:
        return None
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    digests = [None if side is None else sha256_bytes(side) for side in (base, head)]
    return PolicyChange(
        kind="library" if not upgraded else "gate code" if GATE in names else "library upgraded",
        budget=path,
        base=short(digests[0]),
        head=short(digests[1]),
        to=digests[1] or ABSENT,
        effect=", ".join(changed[:_SHOWN]) + more,
    )


def _shown(name: str, before: Demand | None, after: Demand | None) -> str:
    if before is None:
        return f"{name} {after} added"
    if after is None:
        return f"{name} {before} removed"
    same = str(before) == str(after)
    return f"{name} {before} has other files" if same else f"{name} {before} → {after}"


def _newer(name: str, base: Mapping[str, Demand], head: Mapping[str, Demand]) -> bool:
    """Whether one library's demand is the same with a newer version, or the library was added from the usual index."""
    before, after = base.get(name), head.get(name)
    if after is None or name.startswith("-"):
        return False
    if before is None:
        return not after.version.startswith("@") and not after.conditions.startswith("from ")
    pins = [PIN.fullmatch(side.version) for side in (before, after)]
    if pins[0] is None or pins[1] is None or pins[0][1] != pins[1][1] or before.conditions != after.conditions:
        return False
    if not all(_VERSION.fullmatch(pin[2]) for pin in pins if pin):
        return False  # pre-releases and local versions: which is newer is not for us to guess
    versions = [[int(part) for part in pin[2].split(".")] for pin in pins if pin]
    return versions[1] > versions[0]
