"""Progress of long work, as a callable that is told how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of each stage how much of it is done; `detail` says in a few words what is known so far."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` units of `stage`."""


def silent(stage: str, done: int, total: int, detail: str = "") -> None:
    """Report no progress."""
