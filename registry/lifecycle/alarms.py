"""What the watch of a stable version does to a model: a reference window recorded, an alarm, an alarm cleared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.layout import evidence_path
from weighbridge.registry.state.records import Channels, Pointer
from weighbridge.registry.state.tip import Committed, Draft, Tip


class Watcher(Operator):
    """Who watches one model's stable version. Each change is refused where another version is stable by now."""

    def record_reference(self, version: str, name: str, content: bytes) -> Committed:
        """Keep a reference window beside the stable version's record."""

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            target, where = _stable(channels, version), evidence_path(self.model, version, name)
            if tip.read(where) is not None:
                raise StateError("exists already", where=where)
            return Draft(
                EventKind.REFERENCE_RECORDED,
                f"record the reference window of {version}",
                target=target,
                evidence={"kept": {version: {name: sha256_bytes(content)}}},
                files={where: content},
            )

        return self._change(decide)

    def alarm(self, version: str, *, action: str, reason: str, evidence: Mapping[str, Any]) -> Committed:
        """Note an alarm; unless its action is `tell`, it stands until it is cleared or another version is stable."""

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            facts = {**evidence, "action": action}
            target = _stable(channels, version)
            return Draft(EventKind.ALARMED, f"alarm on {version}", target=target, reason=reason, evidence=facts)

        return self._change(decide)

    def roll_back_from(self, version: str, *, reason: str) -> Committed:
        """Roll back, from this version only."""
        return self.roll_back(reason=reason, expect=version)

    def clear(self, *, reason: str) -> Committed:
        """End an alarm that holds: somebody looked."""
        if not reason.strip():
            raise InputError("clearing an alarm needs a reason", fix="--reason TEXT: it stays in the history")

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            target = _stable(channels, channels.held.version) if channels.held else None
            return Draft(EventKind.ALARM_CLEARED, "clear the alarm", target=target, reason=reason)

        return self._change(decide)


def _stable(channels: Channels, version: str) -> Pointer:
    stable = channels.stable
    if stable is None or stable.version != version:
        now = stable.version if stable else "none"
        raise StateError(f"stable is {now} now, not {version}", fix="look again")
    return Pointer(version=stable.version, digest=stable.digest, record=stable.record)
