"""Stable versions that get worse a day after their reference window, and some that do not change."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from benchmarks.watching.drawn_traffic import GOOD, PLANTED, SLICE, START, Generator, Traffic, class_shares, row
from weighbridge.registry.trust.watch_policy import WatchSection
from weighbridge.registry.watch.findings import shifts
from weighbridge.registry.watch.logged_traffic import LONGEST
from weighbridge.registry.watch.reference_traffic import CONFIDENCES, Counts, ReferenceWindow
from weighbridge.registry.watch.seen_requests import Seen
from weighbridge.registry.watch.stream_detectors import BLOCK, Detectors

HOUR, MONTH = 3600, 30 * 86_400

LABELLED = 0.1
"""Share of the requests of a stable version that get a label."""
PATIENCE = 7
POLICY = WatchSection(min_labels=2000)
"""As docs/howto/watch.md has it: the reference window grows until it has so many labels."""


def counted(traffic: Traffic, n: int, random: Generator) -> Counts:
    """Counts of `n` requests of a stable version."""
    labelled = random.binomial(n, LABELLED)
    dark = random.binomial(labelled, SLICE)
    right = random.binomial(dark, traffic.dark), random.binomial(labelled - dark, traffic.right)
    usual = np.array([0.02, 0.03, 0.05, 0.07, 0.13, 0.2, 0.2, 0.3])
    sure = usual * (1 - traffic.unsure) + np.append(usual[2:], (0.0, 0.0)) * traffic.unsure
    sure[0] += usual[:2].sum() * traffic.unsure
    inputs = np.full(10, (1 - traffic.moved) / 10) + np.append(np.zeros(9), traffic.moved)
    return Counts(
        requests=n,
        judged=n,
        errors=random.binomial(n, traffic.errors),
        labelled=labelled,
        right=sum(right),
        timed=n,
        slow=random.binomial(n, traffic.slow + 0.02),
        slices={"dark": (dark, right[0]), "bright": (labelled - dark, right[1])},
        predictions={str(k): int(v) for k, v in enumerate(random.multinomial(n, class_shares(traffic)))},
        confidences=[(int(v), 0, 0) for v in random.multinomial(n, sure / sure.sum())],
        inputs={"x": [int(v) for v in random.multinomial(n, inputs)]},
    )


def together(first: Counts, second: Counts) -> Counts:
    """The sum of two."""
    plain = ("requests", "judged", "errors", "labelled", "right", "timed", "slow")
    pairs = {k: (v[0] + second.slices[k][0], v[1] + second.slices[k][1]) for k, v in first.slices.items()}
    return first.model_copy(
        update={k: getattr(first, k) + getattr(second, k) for k in plain}
        | {
            "slices": pairs,
            "predictions": {k: v + second.predictions[k] for k, v in first.predictions.items()},
            "confidences": [(a[0] + b[0], 0, 0) for a, b in zip(first.confidences, second.confidences, strict=True)],
            "inputs": {"x": [a + b for a, b in zip(first.inputs["x"], second.inputs["x"], strict=True)]},
        }
    )


def reference(random: Generator) -> ReferenceWindow:
    """A reference window of good traffic."""
    counts = counted(GOOD, max(POLICY.reference, round(POLICY.min_labels / LABELLED)), random)
    assert len(counts.confidences) == len(CONFIDENCES) + 1
    moment = START.strftime("%Y-%m-%dT%H:%M:%SZ")
    return ReferenceWindow(model="m", version="v2", since=moment, until=moment, counts=counts, slow_seconds=0.05)


def watched(random: Generator, hours: Sequence[Traffic]) -> Iterator[set[str]]:
    """What each hourly look finds beyond a limit: as `LoggedTraffic.epochs` counts."""
    known, days = reference(random), list[Counts]()
    for hour, traffic in enumerate(hours):
        new = counted(traffic, HOUR, random)
        if hour % (POLICY.epoch // HOUR) == 0:
            whole, week = (reduce(together, counts) if counts else None for counts in (days, days[-LONGEST + 1 :]))
            days.append(new)
        else:
            days[-1] = together(days[-1], new)
        spans = [together(before, days[-1]) if before else days[-1] for before in (whole, week)]
        yield {shift.what for now in (*spans, *days[-2:]) for shift in shifts(known, now, POLICY) if shift.beyond}


def planted(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A stable version that gets worse."""
    for kind, worse in PLANTED.items():
        random, delays = np.random.default_rng(3), []
        for _ in range(options.planted):
            after = [
                GOOD.between(worse, min(1.0, (hour + 1) / 24) if "slowly" in kind else 1.0)
                for hour in range(24 * PATIENCE)
            ]
            looks = watched(random, [GOOD] * 24 + after)
            early = [bool(next(looks)) for _ in range(24)]
            found = next((hour + 1 for hour, said in enumerate(looks) if said), None)
            delays.append(found if not any(early) else None)
        caught = [delay for delay in delays if delay is not None]
        yield row(f"planted drift, {kind}: alarmed", len(caught) / len(delays), "share", 0.95)
        yield row(
            f"planted drift, {kind}: hours until then, median", float(np.median(caught) if caught else np.nan), "hours"
        )


def quiet(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Months in which nothing changes."""
    random, alarms = np.random.default_rng(4), 0
    for _ in range(options.months):
        found: set[str] = set()
        for said in watched(random, [GOOD] * (MONTH // HOUR)):
            found |= said
        alarms += len(found)
    yield row("false alarms of the bounds", alarms / options.months, "a month", 1.0, least=False)


def detectors(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Months of the detectors' streams: wrong answers of a tenth, confidence, one input."""
    random, alarms = np.random.default_rng(5), 0
    for _ in range(options.detector_months):
        known = Detectors([_seen(*values) for values in zip(*_streams(POLICY.reference, random), strict=True)])
        found: set[str] = set()
        for _ in range(MONTH // (BLOCK * 1000)):
            for values in zip(*_streams(BLOCK * 1000, random), strict=True):
                found |= {change.what for change in known.add(_seen(*values))}
        alarms += len(found)
    yield row("false alarms of the detectors", alarms / options.detector_months, "a month", 1.0, least=False)


def _streams(n: int, random: Generator) -> tuple[list[Any], ...]:
    right = random.random(n) < GOOD.right
    labelled = random.random(n) < LABELLED
    return (
        [("1" if good else "0") if has else None for good, has in zip(right.tolist(), labelled.tolist(), strict=True)],
        random.beta(9, 1, n).tolist(),
        random.normal(size=n).tolist(),
    )


def _seen(label: str | None, confidence: float, mean: float) -> Seen:
    return Seen(START, prediction="1", label=label, confidence=confidence, summary={"x": (mean, 1.0)})
