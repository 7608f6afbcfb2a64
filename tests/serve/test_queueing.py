"""What waits for a model's thread: a quick client is awaited without sleeping, for a bounded time."""

import select
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from weighbridge.serve.models import queueing
from weighbridge.serve.models.queueing import Inbox, Waiting


class Clock:
    """A clock that steps by 0.1 s each time it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


@dataclass
class Source:
    """A connection that always has a request, once it is found to be ready."""

    inbox: Inbox
    over: bool = False
    holder: object | None = None
    released: int = 0

    def fileno(self) -> int:
        return self.inbox._ear_number  # whatever can be polled: `Polls` stands in its place

    def read(self) -> None:
        self.inbox.put(_waiting(self))

    def release(self, data: bytes = b"") -> None:
        assert data == b""
        self.over, self.released = True, self.released + 1


def _waiting(source: Any) -> Waiting:
    no_loop: Any = None  # nothing is settled here
    return Waiting({}, lambda _: None, no_loop, 0.0, source)


@dataclass
class Polls:
    """Stands for the poll of a source and of the queue's bell: ready after some polls, remembers their patience."""

    ready_after: int = 0
    patience: list[float] = field(default_factory=list)
    meanwhile: Callable[[int], object] = lambda _: None
    elapsed: Callable[[], object] = lambda: None

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        self.patience.append(milliseconds)
        self.meanwhile(len(self.patience))
        if milliseconds == 0 and len(self.patience) <= self.ready_after:
            return []
        if milliseconds:
            self.elapsed()
        return [(-1, select.POLLIN)]

    def begun_anew(self, ready_after: int = 0) -> list[float]:
        """The patience of each poll so far, forgotten."""
        before, self.patience, self.ready_after = self.patience, [], ready_after
        return before


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Inbox, Source, Polls, Clock]]:
    """Makes a queue that has kept a source."""

    def make(spin: float = 1.0, processors: int = 2) -> tuple[Inbox, Source, Polls, Clock]:
        monkeypatch.setattr(queueing, "processors", lambda: processors)
        clock, polls = Clock(), Polls()
        inbox = Inbox(spin=spin, clock=clock)
        source = Source(inbox)
        inbox.keep(source)
        inbox._both = polls
        return inbox, source, polls, clock

    return make


def test_a_client_that_asked_again_soon_is_awaited_without_sleeping(kept: Callable[..., Any]) -> None:
    inbox, source, polls, _ = kept()
    assert inbox.next().source is source
    assert polls.begun_anew(ready_after=4) == [queueing.IDLE]  # nothing is known of it: asleep
    assert inbox.next().source is source
    assert polls.begun_anew() == [0] * 5
    assert inbox.next().source is source
    assert polls.patience == [0]
    assert not inbox._asleep


def test_one_that_does_not_ask_in_time_is_awaited_asleep_until_it_is_quick_again(kept: Callable[..., Any]) -> None:
    inbox, _, polls, clock = kept()
    inbox.next()
    polls.begun_anew(ready_after=1000)
    polls.elapsed = lambda: setattr(clock, "now", clock.now + 5)
    inbox.next()
    spun = polls.begun_anew()
    assert spun == [0] * (len(spun) - 1) + [queueing.IDLE]
    assert 8 <= len(spun) <= 12  # one second of a clock that steps by a tenth
    inbox.next()
    assert polls.begun_anew() == [queueing.IDLE]  # the last one took five seconds
    polls.elapsed = lambda: None
    inbox.next()
    assert polls.begun_anew() == [queueing.IDLE]
    inbox.next()
    assert polls.begun_anew() == [0]


@pytest.mark.parametrize("settings", [{"spin": 0.0}, {"processors": 1}], ids=str)
def test_told_not_to_or_with_one_processor_every_wait_is_asleep(
    kept: Callable[..., Any], settings: dict[str, Any]
) -> None:
    inbox, _, polls, _ = kept(**settings)
    for _ in range(4):
        inbox.next()
    assert polls.patience == [queueing.IDLE] * 4


def test_what_is_queued_meanwhile_ends_the_wait_and_gives_the_source_back(kept: Callable[..., Any]) -> None:
    inbox, source, polls, _ = kept(spin=1e9)
    inbox.next()
    polls.begun_anew(ready_after=1000)
    other = _waiting(None)
    polls.meanwhile = lambda number: inbox.put(other) if number == 3 else None
    assert inbox.next() is other
    assert polls.patience == [0] * 3
    assert (source.released, inbox.source, source.holder) == (1, None, None)


def test_a_source_that_is_kept_anew_is_awaited_asleep_first(kept: Callable[..., Any]) -> None:
    inbox, source, polls, _ = kept()
    inbox.next()
    inbox.next()
    assert polls.begun_anew() == [queueing.IDLE, 0]
    inbox.keep(None)
    inbox.keep(source)
    inbox._both = polls
    inbox.next()
    assert polls.patience == [queueing.IDLE]
