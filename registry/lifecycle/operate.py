"""Changes of channels: release, roll back, canary, quarantine, deprecate. Each is one event in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.lookup.location import locate
from weighbridge.registry.lookup.resolve import resolve_all
from weighbridge.registry.state.events import UNPROVEN, EventKind
from weighbridge.registry.state.layout import HAND_EDITED, event_path, parse_mapping
from weighbridge.registry.state.records import CanaryPlan, Channels, Pointer
from weighbridge.registry.state.store import Decide, Store, pointer_to
from weighbridge.registry.state.tip import Committed, Draft, Settings, Tip
from weighbridge.registry.trust.registry_policy import CanaryChange, RegistryPolicy, read_policy
from weighbridge.registry.trust.signing import UntrustedError, require_trusted


@dataclass(frozen=True)
class Operator:
    """Who works on one model's channels, where and how."""

    root: Path
    model: str
    settings: Settings | None = None

    def release(self, version: str, *, reason: str = "", expect: str | None = None) -> Committed:
        """Make an existing version stable: one that was recorded without a channel, or one that was stable before."""

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            _expect(channels, expect)
            target = self._proven(tip, version)
            return Draft(EventKind.PROMOTED, f"promote {version}", target=target, reason=reason)

        return self._change(decide)

    def roll_back(
        self,
        *,
        reason: str,
        to: str | None = None,
        quarantine: bool = True,
        unproven: bool = False,
        expect: str | None = None,
    ) -> Committed:
        """Make `to` stable: a version, `baseline`, or by default what was stable before.

        Proves that the target's bytes exist and hash right, asks no analysis, and quarantines what is left
        (never a baseline). Needs neither the record nor the bytes of the version that is left. With `unproven`, a
        target whose bytes cannot be fetched now, or whose signature today's policy does not accept, is taken at its
        digest in the history: the event says so. Bytes that hash wrong are refused all the same.
        """
        if not reason.strip():
            raise InputError("a roll-back needs a reason", fix="--reason TEXT: it stays in the history")

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            if channels.stable is None:
                raise StateError(f"no version of {self.model} is stable: there is nothing to roll back")
            _expect(channels, expect)
            version = _way_back(tip, channels, to)
            target, proof = self._proof(tip, version) if unproven else _verified(self._proven(tip, version))
            left = channels.stable
            quarantined = quarantine and not left.version.startswith("b")
            return Draft(
                EventKind.ROLLED_BACK,
                f"roll back {left.version} to {version}",
                target=target,
                reason=reason,
                quarantine=(_pointer(left),) if quarantined else (),
                evidence={"left": left.version, **proof},
            )

        return self._change(decide)

    def start_canary(
        self, version: str, plan: CanaryPlan | CanaryChange | None = None, *, reason: str = ""
    ) -> Committed:
        """Give a version its first share of traffic: by the policy's plan at the tip, changed, or by another `plan`."""

        def decide(tip: Tip, _: Channels) -> Draft:
            policy = self._policy(tip)
            chosen = plan.of(policy) if isinstance(plan, CanaryChange) else plan or policy.canary
            return Draft(
                EventKind.CANARY_STARTED,
                f"start a canary of {version} at {chosen.steps[0]:g}%",
                target=self._proven(tip, version),
                plan=chosen,
                reason=reason,
            )

        return self._change(decide)

    def advance_canary(
        self, *, reason: str, evidence: Mapping[str, Any] | None = None, expect: Expected | None = None
    ) -> Committed:
        """Take the canary's next step; after the last it becomes stable."""

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            canary = _canary(channels, expect)
            target, step = _pointer(canary), canary.step + 1
            facts = dict(evidence or {})
            if step == len(canary.plan.steps):
                target = self._proven(tip, canary.version)
                summary = f"promote {canary.version} after its canary"
                return Draft(EventKind.PROMOTED, summary, target=target, reason=reason, evidence=facts)
            summary = f"advance {canary.version} to {canary.plan.steps[step]:g}%"
            return Draft(EventKind.CANARY_ADVANCED, summary, target=target, step=step, reason=reason, evidence=facts)

        return self._change(decide)

    def hold_canary(
        self, *, reason: str, evidence: Mapping[str, Any] | None = None, expect: Expected | None = None
    ) -> Committed:
        """Note that the canary was looked at and stays where it is; a `SameHoldError` where the last event says so
        already, for the same cause.
        """

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            canary = _canary(channels, expect)
            _refuse_same_hold(tip, channels, dict(evidence or {}))
            return Draft(
                EventKind.CANARY_HELD,
                f"hold {canary.version} at {canary.weight:g}%",
                target=_pointer(canary),
                reason=reason,
                evidence=dict(evidence or {}),
            )

        return self._change(decide)

    def abort_canary(
        self,
        *,
        reason: str,
        quarantine: bool = True,
        evidence: Mapping[str, Any] | None = None,
        expect: Expected | None = None,
    ) -> Committed:
        """Take all traffic from the canary and quarantine it."""
        if not reason.strip():
            raise InputError("aborting a canary needs a reason", fix="--reason TEXT: it stays in the history")

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            canary = _canary(channels, expect)
            quarantined = quarantine and not canary.version.startswith("b")
            return Draft(
                EventKind.CANARY_ABORTED,
                f"abort the canary of {canary.version}",
                target=_pointer(canary),
                quarantine=(_pointer(canary),) if quarantined else (),
                reason=reason,
                evidence=dict(evidence or {}),
            )

        return self._change(decide)

    def quarantine(self, version: str, *, reason: str, lift: bool = False) -> Committed:
        """Forbid a version to serve again, or lift that."""
        if not reason.strip():
            raise InputError("a quarantine needs a reason", fix="--reason TEXT: it stays in the history")

        def decide(tip: Tip, channels: Channels) -> Draft:
            self._policy(tip)
            if not lift and version in channels.quarantined:
                raise StateError(f"{version} is quarantined already")
            kind = EventKind.QUARANTINE_LIFTED if lift else EventKind.QUARANTINED
            summary = f"{'lift the quarantine of' if lift else 'quarantine'} {version}"
            return Draft(kind, summary, target=pointer_to(tip, self.model, version), reason=reason)

        return self._change(decide)

    def deprecate(self, version: str, *, reason: str) -> Committed:
        """Mark a version as one that should not be taken any more."""
        if not reason.strip():
            raise InputError("a deprecation needs a reason", fix="--reason TEXT: it is shown to everyone who pulls it")

        def decide(tip: Tip, _: Channels) -> Draft:
            self._policy(tip)
            target = pointer_to(tip, self.model, version)
            return Draft(EventKind.DEPRECATED, f"deprecate {version}", target=target, reason=reason)

        return self._change(decide)

    def _change(self, decide: Decide) -> Committed:
        def of_known_model(tip: Tip, channels: Channels) -> Draft:
            if channels.head is None:
                raise StateError(f"the registry has no model {self.model!r}", fix="see `weighbridge registry list`")
            return decide(tip, channels)

        return Store(self.root, self.settings).change(self.model, of_known_model)

    def _policy(self, tip: Tip) -> RegistryPolicy:
        policy = read_policy(tip)
        policy.require_operator(tip.git.identity())
        return policy

    def _proof(self, tip: Tip, version: str) -> tuple[Pointer, dict[str, str]]:
        """A pointer to a version, and what was verified of it; or why it was not, where that is no sign of damage."""
        try:
            return _verified(self._proven(tip, version))
        except UntrustedError as error:
            why = str(error)
        except IntegrityError:
            raise
        except StateError as error:
            why = str(error)
        target = pointer_to(tip, self.model, version)
        return target, {UNPROVEN: target.digest, "because": why}

    def _proven(self, tip: Tip, version: str) -> Pointer:
        """A pointer to a version whose bytes, for each target, exist and hash right, and that the policy lets serve."""
        target = pointer_to(tip, self.model, version)
        require_trusted(tip, self.model, version)
        for artifact in resolve_all(self.root, f"{self.model}@{version}", view=tip):
            for part in artifact.parts:
                locate(self.root, part)
        return target


@dataclass(frozen=True)
class Expected:
    """The canary's step that a decision was taken on; another at the tip refuses it."""

    version: str
    step: int


def _canary(channels: Channels, expect: Expected | None) -> Any:
    canary = channels.canary
    if canary is None:
        raise StateError(f"no version of {channels.model} is on canary")
    if expect is not None and (canary.version, canary.step) != (expect.version, expect.step):
        raise StateError(
            f"the canary is {canary.version} on step {canary.step} now, not {expect.version} on step {expect.step}",
            fix="judge again",
        )
    return canary


class SameHoldError(StateError):
    """The last event holds the canary for the same cause: another one would say nothing new."""


def _refuse_same_hold(tip: Tip, channels: Channels, evidence: Mapping[str, Any]) -> None:
    if channels.head is None or "cause" not in evidence:
        return
    where = event_path(channels.model, channels.head.event)
    last = parse_mapping(tip.read(where) or b"", where)
    if last["kind"] == EventKind.CANARY_HELD and last["evidence"].get("cause") == evidence["cause"]:
        raise SameHoldError("is held for the same cause already", where=where)


def _expect(channels: Channels, expect: str | None) -> None:
    stable = channels.stable.version if channels.stable else "none"
    if expect is not None and stable != expect:
        raise StateError(f"stable is {stable}, expected {expect}")


def _verified(target: Pointer) -> tuple[Pointer, dict[str, str]]:
    return target, {"bytes_verified": target.digest}


def _pointer(place: Pointer) -> Pointer:
    return Pointer(version=place.version, digest=place.digest, record=place.record)


def _way_back(tip: Tip, channels: Channels, to: str | None) -> str:
    """The version to roll back to: named, the baseline, or the last stable one that is not quarantined."""
    assert channels.stable is not None
    if to == "baseline":
        if channels.baseline is None:
            raise StateError(f"{channels.model} has no baseline")
        return channels.baseline.version
    if to is not None:
        return to
    unfit = {channels.stable.version, *channels.quarantined, *channels.deprecated}
    number = channels.stable.event
    while number > 1:
        where = event_path(channels.model, number - 1)
        data = tip.read(where)
        if data is None:
            raise IntegrityError("is missing", where=where, fix=HAND_EDITED)
        after = parse_mapping(data, where)["after"]
        before = after.get("stable")
        if before is None:
            break
        if before not in unfit:
            return str(before)
        number = int(after["stable_event"])
    if channels.baseline is None or channels.baseline.version == channels.stable.version:
        raise StateError("no earlier version was stable, and the baseline is serving")
    return channels.baseline.version
