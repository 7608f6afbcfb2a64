"""What the server's log says of the stable version: its reference window, counts by epoch, changes of its streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from weighbridge.registry.state.records import Placed
from weighbridge.registry.trust.watch_policy import WatchSection
from weighbridge.registry.watch.reference_traffic import Counting, Counts, ReferenceWindow, reference_of
from weighbridge.registry.watch.seen_requests import Seen
from weighbridge.registry.watch.stream_detectors import Change, Detectors

WHOLE = "since the reference"
"""Name of the count that begins with the reference window's end."""
LONGEST = 7
"""Epochs that are counted together from the start of the first: what came slowly, without the good time before it."""


@dataclass(frozen=True)
class LoggedTraffic:
    """All requests of one stable version that a log has."""

    requests: Sequence[Seen]
    model: str
    stable: Placed
    policy: WatchSection
    problems: Sequence[str] = ()
    """None: a line that is no request is an error where it is read."""

    def reference_window(self) -> ReferenceWindow | str:
        """The reference window, or why there is none yet."""
        window = self._window()
        return window if isinstance(window, str) else reference_of(self.model, self.stable.version, window)

    def epochs(self, reference: ReferenceWindow) -> Iterator[tuple[str, Counts]]:
        """All that came since the reference; the last `LONGEST` epochs together; the last two by themselves: none is
        diluted by the good time before it. Each begins with an epoch, so that the sequences are as many as epochs.
        """
        later = self._later(reference)
        if not later:
            return
        begins, length = datetime.fromisoformat(reference.until), self.policy.epoch
        places = [(seen.time - begins).total_seconds() // length for seen in later]
        newest = max(places)
        countings: dict[str, Counting] = {}
        recent = newest - LONGEST + 1
        starts = {place: (begins + timedelta(seconds=place * length)).isoformat() for place in {*places, recent}}
        for seen, place in zip(later, places, strict=True):
            names = [WHOLE]
            if recent > 0 and place >= recent:
                names.append(f"since {starts[recent]}")
            if place >= newest - 1:
                names.append(starts[place])
            for name in names:
                if name not in countings:
                    countings[name] = Counting(reference.slow_seconds, reference.edges)
                countings[name].add(seen)
        for name, counting in countings.items():
            yield name, counting.counts()

    def changes(self, reference: ReferenceWindow) -> list[Change]:
        """What river's detectors say of everything since the reference, the first of each."""
        window = self._window()
        detectors = Detectors(window if isinstance(window, list) else [])
        first: dict[str, Change] = {}
        for seen in self._later(reference):
            for change in detectors.add(seen):
                first.setdefault(change.what, change)
        return list(first.values())

    def _later(self, reference: ReferenceWindow) -> list[Seen]:
        ends = datetime.fromisoformat(reference.until) + timedelta(seconds=1)
        return [seen for seen in self.requests if seen.time > ends]

    def _window(self) -> list[Seen] | str:
        promoted = datetime.fromisoformat(self.stable.since)
        before = [seen for seen in self.requests if seen.time <= promoted]
        canary = self._enough(before[::-1])
        return canary[::-1] if isinstance(canary, list) else self._enough(self.requests)

    def _enough(self, requests: Sequence[Seen]) -> list[Seen] | str:
        """The first requests, as many as the policy wants and until they have the labels that it wants."""
        labelled, least = 0, self.policy.min_labels
        for number, seen in enumerate(requests, 1):
            labelled += seen.right is not None
            if number >= self.policy.reference and labelled >= least:
                return list(requests[:number])
        if len(requests) < self.policy.reference:
            return f"the reference window has {len(requests)} of {self.policy.reference} requests"
        return f"the reference window has {labelled} of {least} labels"
