"""What a report tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from weighbridge.core.documents import BasisItem, PolicyChange, Portability, Refused, Verdict, WaiverUse
from weighbridge.gate.report.blocks import Inline
from weighbridge.gate.report.edits import Edits
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.reference_points import ReferencePoint

PICTURES = {"pareto": "pareto.png", "limits": "limits.png", "launches": "launches.png"}
"""Plots and their files, beside the report."""


@dataclass(frozen=True)
class Report:
    """Everything that a report is made of."""

    verdict: Verdict
    entries: Sequence[Entry]
    model: str | None = None
    notes: Sequence[str] = ()
    policy_changes: Sequence[PolicyChange] = ()
    waivers: Sequence[WaiverUse] = ()
    refused: Mapping[str, Refused] = field(default_factory=dict)
    """What could not be built or weighed, by name."""
    basis: Sequence[BasisItem] = ()
    portability: Sequence[Portability] = ()
    """Answers on other processors."""
    edits: Edits | None = None
    """None where there was no merge base to compare with."""
    calibration: Sequence[str] = ()
    """Sentences on what this device can resolve, where it was calibrated."""
    reproduce: Sequence[str] = ()
    """Commands."""
    command: str = ""
    """The one command that gives this verdict again, where it was given on a change."""
    changed: frozenset[str] | None = None
    """Recipes that differ from the merge base; None where that is not known, so that each counts as changed."""
    points: Sequence[ReferencePoint] = ()
    next_steps: Sequence[Inline] = ()
    """What somebody can do about a verdict that is no pass, as sentences."""
    stanzas: Sequence[str] = ()
    """Waivers that are ready to be signed, as YAML."""
    pictures: bool = False
    """Whether the plots lie beside the report."""

    @property
    def many(self) -> bool:
        """A pipeline's recipes rather than one candidate."""
        return self.model is not None
