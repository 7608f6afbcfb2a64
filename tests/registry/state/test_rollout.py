"""What each event does to the channels, and when it may not happen."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.registry.project import MODEL, commit_all, write_run
from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.lifecycle.operate import Expected, Operator
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state import rollout
from weighbridge.registry.state.events import Event, EventKind, NewRecord
from weighbridge.registry.state.records import CanaryPlan, Channels, Pointer

ZERO = "sha256:" + 64 * "0"


def digest(number: int) -> str:
    """Some digest."""
    return f"sha256:{number:064x}"


def pointer(version: str) -> Pointer:
    """A pointer to a version whose digest follows from its name."""
    number = int(version[1:]) + (1000 if version[0] == "b" else 0)
    return Pointer(version=version, digest=digest(number), record=digest(number + 5000))


def event(channels: Channels, kind: str, version: str | None = None, **more: int | list[NewRecord]) -> Event:
    """A drafted event on top of the channels."""
    number = (channels.head.event if channels.head else 0) + 1
    return Event(
        number=number,
        model="m",
        kind=kind,
        at="2026-01-01T00:00:00Z",
        by="T <t@example.org>",
        target=pointer(version) if version else None,
        previous=ZERO,
        **more,
    )


def record(version: str) -> NewRecord:
    """A version that comes with an event."""
    found = pointer(version)
    return NewRecord(version=version, digest=found.digest, record=found.record)


def fold(*steps: tuple[str, str, dict[str, CanaryPlan | list[Pointer]]]) -> Channels:
    """Channels after steps of (kind, version, fields)."""
    channels = Channels(model="m")
    for kind, version, more in steps:
        channels = rollout.apply(channels, event(channels, kind, version, **more))
    return channels


START = [("promoted", "v1", {"records": [record("b1"), record("v1")]}), ("recorded", None, {"records": [record("v2")]})]
PLAN = {"plan": CanaryPlan(steps=[5, 50, 100])}


def test_a_canary_grows_step_by_step_and_ends_stable() -> None:
    """5, 50, 100 per cent, then stable; the channel is empty again."""
    channels = fold(*START, ("canary-started", "v2", PLAN))
    weights = [channels.canary.weight]
    for step in (1, 2):
        channels = rollout.apply(channels, event(channels, "canary-advanced", "v2", step=step))
        weights.append(channels.canary.weight)
    assert weights == [5, 50, 100]
    channels = rollout.apply(channels, event(channels, "promoted", "v2"))
    assert (channels.stable.version, channels.canary) == ("v2", None)


@pytest.mark.parametrize(
    ("steps", "kind", "version", "more", "message"),
    [
        ([], "canary-started", "v1", PLAN, "no version v1"),
        (START, "canary-started", "v1", PLAN, "v1 is stable already"),
        (START, "canary-started", "v2", {}, "needs a plan"),
        (START, "canary-started", "v2", {"plan": CanaryPlan(steps=[50, 5])}, "must grow"),
        ([*START, ("canary-started", "v2", PLAN)], "canary-started", "v2", PLAN, "on canary already"),
        ([*START, ("canary-started", "v2", PLAN)], "canary-advanced", "v2", {"step": 2}, "does not follow"),
        ([*START, ("canary-started", "v2", PLAN)], "canary-advanced", "v2", {"step": 0}, "does not follow"),
        ([*START, ("canary-started", "v2", PLAN)], "canary-advanced", "v1", {"step": 1}, "not the version of this"),
        ([*START, ("canary-started", "v2", PLAN)], "promoted", "b1", {}, "v2 is on canary"),
        (START, "canary-advanced", "v2", {"step": 1}, "no version is on canary"),
        (START, "promoted", "v1", {}, "v1 is stable already"),
        (START, "promoted", "v3", {}, "has no version v3"),
        (START, "promoted", None, {}, "needs a version"),
        (START, "recorded", None, {}, "needs a record"),
        (START, "recorded", None, {"records": [record("v4")]}, "not the next version"),
        (START, "recorded", None, {"records": [record("v2")]}, "not the next version"),
        (START, "rolled-back", "v1", {}, "v1 is stable already"),
        (START, "rolled-back", "v2", {"quarantine": [pointer("b1")]}, "cannot quarantine b1"),
        (START, "quarantined", "v1", {}, "v1 is serving"),
        (START, "quarantined", "b1", {}, "a baseline is never quarantined"),
        (START, "quarantine-lifted", "v2", {}, "is not quarantined"),
        ([*START, ("quarantined", "v2", {})], "promoted", "v2", {}, "v2 is quarantined"),
        ([*START, ("quarantined", "v2", {})], "canary-started", "v2", PLAN, "v2 is quarantined"),
        ([*START, ("quarantined", "v2", {})], "rolled-back", "v2", {}, "v2 is quarantined"),
        (START, "deprecated", "v1", {}, "v1 is stable"),
    ],
)
def test_what_may_not_happen_is_refused(
    steps: Any, kind: str, version: str | None, more: dict[str, Any], message: str
) -> None:
    """Every precondition of every event."""
    channels = fold(*steps)
    with pytest.raises(StateError, match=message):
        rollout.apply(channels, event(channels, kind, version, **more))


def test_bytes_under_quarantine_do_not_return_under_another_name() -> None:
    """Quarantine is of bytes, not of a name."""
    channels = fold(*START, ("quarantined", "v2", {}))
    same = NewRecord(version="v3", digest=pointer("v2").digest, record=digest(1))
    with pytest.raises(StateError, match="bytes of v3 are quarantined"):
        rollout.apply(channels, event(channels, "recorded", records=[same]))


def test_rolling_back_ends_a_canary() -> None:
    """The canary was compared with what is left: its evidence is void, its traffic ends."""
    channels = fold(*START, ("canary-started", "v2", PLAN), ("rolled-back", "b1", {"quarantine": [pointer("v1")]}))
    assert channels.canary is None
    assert channels.quarantined == {"v1": pointer("v1").digest}


KINDS = st.sampled_from([kind.value for kind in EventKind])
VERSIONS = st.sampled_from(["v1", "v2", "v3", "b1"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(KINDS, VERSIONS, st.booleans(), st.integers(0, 3)), max_size=14))
def test_whatever_happens_the_channels_are_sound(moves: list[Any]) -> None:
    """No sequence of accepted events lets a quarantined version serve, quarantines a baseline or doubles a version."""
    channels = Channels(model="m")
    for kind, version, new, step in moves:
        records = [record(f"v{channels.versions + 1}")] if new else []
        more = {"records": records, "step": step, **PLAN}
        if kind in ("rolled-back", "canary-aborted") and new:
            place = channels.stable if kind == "rolled-back" else channels.canary
            more["quarantine"] = [pointer(place.version)] if place else []
        try:
            channels = rollout.apply(channels, event(channels, kind, version, **more))
        except StateError:
            continue
        serving = [place.version for place in (channels.stable, channels.canary) if place]
        assert not set(serving) & set(channels.quarantined)
        assert len(serving) == len(set(serving))
        assert not any(name.startswith("b") for name in channels.quarantined)


@pytest.fixture
def three(promoted: Path) -> Path:
    """v1, v2, v3 were stable, in that order."""
    write_run(promoted, 3)
    commit_all(promoted)
    promote(promoted, PromotionRequest("int8"))
    return promoted


def test_rolling_back_leads_to_what_was_stable_before(three: Path) -> None:
    """Twice back is two versions back, and never to what was quarantined on the way; in the end the baseline."""
    operator = Operator(three, MODEL)
    went = [operator.roll_back(reason="x").channels.stable.version for _ in range(3)]
    assert went == ["v2", "v1", "b1"]
    with pytest.raises(StateError, match="the baseline is serving"):
        operator.roll_back(reason="x")
    assert sorted(operator.quarantine("v3", reason="y", lift=True).channels.quarantined) == ["v1", "v2"]


def test_rolling_back_proves_the_bytes_first(three: Path) -> None:
    """Without the target's bytes nothing moves: a roll-back to nothing is no roll-back."""
    found = resolve(three, f"{MODEL}@v1")
    for path in three.rglob(f"{found.md5[2:]}"):
        path.unlink()
    with pytest.raises(StateError, match=r"the bytes of tiny-cnn@v1 .* cannot be had"):
        Operator(three, MODEL).roll_back(reason="x", to="v1")
    assert resolve(three, MODEL).version == "v3"
    assert Operator(three, MODEL).roll_back(reason="x", to="baseline").channels.stable.version == "b1"


def test_rolling_back_needs_nothing_of_what_is_left(three: Path) -> None:
    """The bad version's bytes and record may be gone: the way back stays open."""
    found = resolve(three, MODEL)
    (three / found.path).unlink()
    for path in (three / ".dvc").rglob(found.md5[2:]):
        path.unlink()
    (three / found.record).unlink()
    commit_all(three, "Lose the record")
    assert Operator(three, MODEL).roll_back(reason="x").channels.stable.version == "v2"


def test_rolling_back_without_quarantine(three: Path) -> None:
    """A drill leaves nothing quarantined when asked so."""
    assert Operator(three, MODEL).roll_back(reason="drill", quarantine=False).channels.quarantined == {}


@pytest.mark.parametrize("change", ["roll_back", "abort_canary"])
def test_a_reason_is_required(three: Path, change: str) -> None:
    """The history must say why."""
    with pytest.raises(InputError, match=r"needs a reason|needs a reason"):
        getattr(Operator(three, MODEL), change)(reason=" ")


def test_an_unknown_model_is_refused(three: Path) -> None:
    """No event starts a model but a promotion."""
    with pytest.raises(StateError, match="no model 'other'"):
        Operator(three, "other").roll_back(reason="x")


def test_a_canary_from_start_to_stable(promoted: Path) -> None:
    """Recorded, started, advanced by hand over all steps, stable; each is one event."""
    promote(promoted, PromotionRequest("fp16", channel="none"))
    operator = Operator(promoted, MODEL)
    operator.start_canary("v3", CanaryPlan(steps=[10, 100]))
    assert resolve(promoted, f"{MODEL}@canary").weight == 10
    with pytest.raises(StateError, match="the canary is v3 on step 0 now, not v3 on step 1"):
        operator.advance_canary(reason="x", expect=Expected("v3", 1))
    operator.advance_canary(reason="well")
    committed = operator.advance_canary(reason="well")
    assert (committed.event.kind, committed.channels.stable.version) == ("promoted", "v3")
    assert committed.event.number == 6


def test_aborting_a_canary_quarantines_it_and_leaves_stable(promoted: Path) -> None:
    """Traffic goes back to stable, which never changed."""
    promote(promoted, PromotionRequest("fp16", channel="none"))
    operator = Operator(promoted, MODEL)
    operator.start_canary("v3")
    channels = operator.abort_canary(reason="errors").channels
    assert (channels.stable.version, channels.canary, list(channels.quarantined)) == ("v2", None, ["v3"])
