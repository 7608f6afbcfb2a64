"""What a search is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.documents.devices import LOCAL


@dataclass(frozen=True)
class SearchRequest:
    """What was asked for on the command line."""

    root: Path = Path()
    goal: str | None = None
    target: str | None = None
    device: str = LOCAL
    """Where files are timed; its name under `devices:`."""
    recipe: str | None = None
    """The recipe whose budgets are asked; None: the common ones."""
    seconds: float = 1800.0
    trials: int | None = None
    training: bool = True
    seed: int = 7
    name: str | None = None
    timed: bool = True
    random: bool = False
    """Propose at random, as a search to compare with."""
    guided: bool = True
    """Start from the integer programme's points."""
    workers: int = 1
    """Processes that train side by side."""
