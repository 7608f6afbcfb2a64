"""What an earlier `init` of this repository was told, read from what it wrote: a later one keeps it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from weighbridge.ci.locking import LOCKED
from weighbridge.ci.scaffold import REQUIREMENTS

_RUNNER = re.compile(r"^    runs-on: (?P<value>.+)$", re.MULTILINE)
_CLASS = re.compile(r"^ +WEIGHBRIDGE_DEVICE_CLASS: (?P<value>.+)$", re.MULTILINE)
_BRANCH = re.compile(r"^    branches: \[(?P<value>.+)\]$", re.MULTILINE)
_SELECT = re.compile(r"weighbridge ci promote .*--select (?P<value>\S+)")
_SOURCE = re.compile(r"^weighbridge\[compress,pipeline\] @ (?P<value>\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Earlier:
    """Answers of the repository as a whole; None where nothing was written yet."""

    branch: str | None = None
    runner: str | None = None
    device_class: str | None = None
    select: str | None = None
    source: str | None = None
    """What pip installs Weighbridge from."""


def earlier(top: Path) -> Earlier:
    """Read the workflows and the requirements at a repository's top."""
    gate, promote = (_text(top / f".github/workflows/{name}.yml") for name in ("gate", "promote"))
    return Earlier(
        branch=_found(_BRANCH, promote),
        runner=_found(_RUNNER, gate),
        device_class=_found(_CLASS, gate),
        select=_found(_SELECT, promote),
        source=_found(_SOURCE, _text(top / REQUIREMENTS)),
    )


def with_source(there: str, source: str, ours: str) -> str:
    """Requirements that install from `source` by the locked versions: those that are there with one line changed and
    the other added, or else `ours`.
    """
    line, locked = f"weighbridge[compress,pipeline] @ {source}", f"--constraint {LOCKED}"
    if not _SOURCE.search(there):
        return ours
    text = _SOURCE.sub(lambda _: line, there)
    return text if locked in text.splitlines() else f"{text.rstrip()}\n{locked}\n"


def _found(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match["value"].strip() if match else None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
