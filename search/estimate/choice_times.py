"""How long the files of single choices take, in one job with the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from weighbridge.core.errors import MeasurementError
from weighbridge.core.files import atomic_write, sha256_bytes
from weighbridge.search.estimate.timing import Bench

LAUNCHES = 1
"""Of each file: what is asked is an order of choices, and trials are timed again."""


def timer_of(bench: Bench, folder: Path) -> Callable[[Mapping[str, bytes]], dict[str, float]]:
    """Files by name → their time beside the baseline's; they lie in `folder` while they are timed.

    A file that breaks its worker is left out.
    """

    def time(files: Mapping[str, bytes]) -> dict[str, float]:
        paths = {name: folder / f"{sha256_bytes(data)[7:31]}{bench.baseline.suffix}" for name, data in files.items()}
        for name, path in paths.items():
            atomic_write(path, files[name])
        try:
            return _together(bench, paths)
        finally:
            for path in set(paths.values()):
                path.unlink()

    return time


def _together(bench: Bench, paths: Mapping[str, Path]) -> dict[str, float]:
    try:
        return {name: timing.ratio for name, timing in bench.time(paths, LAUNCHES).items()}
    except MeasurementError:
        if len(paths) == 1:
            return {}
        # Which of them it was is found by halves.
        names = list(paths)
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        return {name: ratio for half in halves for name, ratio in _together(bench, {n: paths[n] for n in half}).items()}


__all__ = ["timer_of"]
