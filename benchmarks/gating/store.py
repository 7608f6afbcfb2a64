"""What the trials have seen so far, in one JSON file that is replaced as a whole after every unit of work."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.core.files import write_json


class Store:
    """Lists of observations by name. The one thing here that changes."""

    def __init__(self, path: Path, device: dict[str, Any]) -> None:
        self.path = path
        self.content: dict[str, Any] = {"device": device, "seen": {}}
        if path.exists():
            self.content = json.loads(path.read_text())
            if self.content["device"]["fingerprint"] != device["fingerprint"]:
                raise InputError("was taken on another device", where=str(path), fix="give another --json")
        self.begin = time.monotonic()

    def collect(self, name: str, count: int, take: Callable[[int], Any]) -> list[Any]:
        """Observations 0 … count - 1 of a trial: those that are stored, then `take(number)` for each that is not."""
        seen: list[Any] = self.content["seen"].setdefault(name, [])
        for number in range(len(seen), count):
            seen.append(take(number))
            self.save()
            self.report(name, number + 1, count)
        return seen[:count]

    def save(self) -> None:
        """Write everything; what was there before stays until the new bytes are whole."""
        write_json(self.path, self.content)

    def report(self, stage: str, done: int, total: int) -> None:
        """Progress for whoever waits."""
        spent = time.monotonic() - self.begin
        print(f"[{spent / 60:5.1f} min] {stage}: {done}/{total}", file=sys.stderr, flush=True)
