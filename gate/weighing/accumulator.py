"""What launches have given so far, metric by metric, continued from an earlier run where there was one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from weighbridge.core.documents import Absent, Comparison, Controls, Evidence, Launches, Weighed
from weighbridge.gate.measure.launches import Launch
from weighbridge.gate.statistics.looks import controls_due

Against = Literal["baseline", "stable"]
BURSTS = ("latency.p50", "latency.end_to_end")
"""The metrics whose launches consist of interleaved bursts: those carry the controls."""


@dataclass
class Series:
    """One metric's values, one entry per launch pair."""

    candidate: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    log_ratio: list[float] = field(default_factory=list)
    samples: int = 0
    numbers: list[int] = field(default_factory=list)


@dataclass
class Accumulator:
    """The noisy half of one comparison. The one thing here that changes."""

    against: Against
    reference: Weighed
    role: str
    """The role whose values are the reference's: `baseline` also where stable has the same bytes."""
    series: dict[str, Series] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    null: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    """Share of disturbed rounds, per launch that was timed."""
    notes: list[str] = field(default_factory=list)

    def resume(self, earlier: Comparison) -> None:
        """Continue where an earlier run of the same bytes on the same device ended."""
        for metric, evidence in earlier.metrics.items():
            if isinstance(evidence, Launches):
                self.series[metric] = Series(
                    list(evidence.candidate),
                    list(evidence.reference),
                    list(evidence.log_ratio),
                    evidence.samples,
                    list(evidence.numbers),
                )
        self.null = list(earlier.controls.null_log_ratio)
        self.shares = [earlier.controls.dropped] * sum(self.count(metric) for metric in BURSTS)
        self.notes = list(earlier.controls.notes)

    def add(self, launch: Launch, number: int) -> None:
        """Take in one launch; `number` rises over the whole measurement, re-runs included."""
        for metric, by_role in launch.values.items():
            item = self.series.setdefault(metric, Series())
            item.candidate.append(by_role["candidate"])
            item.reference.append(by_role[self.role])
            item.log_ratio.append(launch.log_ratios[metric]["candidate", self.role])
            item.numbers.append(number)
            item.samples = min(item.samples or launch.samples[metric], launch.samples[metric])
        timed = [metric for metric in BURSTS if metric in launch.values]
        if timed:  # a launch for memory alone has no bursts that could be disturbed
            self.shares.append(launch.dropped)
        for metric in timed:
            if ("control", "baseline") in launch.log_ratios.get(metric, {}):
                self.null.append(launch.log_ratios[metric]["control", "baseline"])

    def count(self, metric: str) -> int:
        """Launch pairs taken for a metric."""
        return len(self.series[metric].candidate) if metric in self.series else 0

    @property
    def control_due(self) -> bool:
        """Whether the next launch must have a second baseline."""
        return len(self.null) < controls_due(1 + sum(self.count(metric) for metric in BURSTS))

    @property
    def last_number(self) -> int:
        """Number of the last launch taken; 0 before the first."""
        return max((number for item in self.series.values() for number in item.numbers), default=0)

    def evidence(self, wanted: Iterable[str]) -> dict[str, Evidence]:
        """What there is for each metric that was taken, and the reason for each wanted one that cannot be."""
        found: dict[str, Evidence] = {
            metric: Launches(
                candidate=list(item.candidate),
                reference=list(item.reference),
                log_ratio=list(item.log_ratio),
                samples=item.samples,
                numbers=list(item.numbers),
            )
            for metric, item in sorted(self.series.items())
        }
        for metric in wanted:
            if metric not in found and metric in self.absent:
                found[metric] = Absent(reason=self.absent[metric])
        return found

    def controls(self) -> Controls:
        """Whether the device was fit to judge meanwhile."""
        share = sum(self.shares) / len(self.shares) if self.shares else 0.0
        return Controls(null_log_ratio=list(self.null), dropped=share, notes=list(self.notes))
