"""`dvc repro`, as the gate runs it: what was built before is restored, what failed is named."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from weighbridge.core.documents.measurement import RUN_VARIABLE, SHARED_VARIABLE
from weighbridge.core.errors import ExitCode, StateError
from weighbridge.core.facts.targets import DEFAULT_TARGET
from weighbridge.core.files import atomic_write, read_yaml
from weighbridge.core.project import LOCK, PARAMS

Echo = Callable[[str], None]
"""Takes one line of a running command."""

_RAN = re.compile(r"^Running stage '(?:.*:)?(?P<stage>[^':]+)'")
_FAILED = re.compile(r"failed to reproduce (?P<stages>'[^']+'(?:, '[^']+')*)")
_STAGE = re.compile(r"'(?:[^']*:)?(?P<stage>[^':]+)'")
_CODE = re.compile(r"exited with (?P<code>-?\d+)")
_UNTARGETED = re.compile(r"Parameters? '[^']*?(?P<recipe>recipes\.[^',]+)\.target[^']*' (?:is|are) missing")
_ERROR = re.compile(r"weighbridge: error: (?P<message>.+)")


@dataclass(frozen=True)
class Reproduced:
    """What a run of the pipeline did."""

    ran: tuple[str, ...]
    """Stages that ran, in order; the others were unchanged or restored."""
    failed: str | None
    """The stages that failed; `dvc` where DVC itself did; None where nothing failed."""
    message: str
    """What the failed stages said."""
    exit_code: ExitCode
    run: str = ""
    """Its id, by which measurements name it."""

    @property
    def compressed(self) -> list[str]:
        """Stages among `ran` that built something, rather than measured it."""
        return [stage for stage in self.ran if stage.partition("@")[0] not in ("device", "weigh", "judge")]


def reproduce(root: Path, echo: Echo, *, shared: bool = False, anew: Sequence[str] = ()) -> Reproduced:
    """Run `dvc repro --pull` in a project; every line of its output goes to `echo` as it comes.

    Stages in `anew` run whatever `dvc.lock` and the run-cache say of them, before all others. With `shared`,
    measurements are continued from the DVC remote as well: only where the change does not say itself which remote that
    is.

    A recipe that fails does not stop the others from being built and weighed; the run has failed all the same.
    What DVC's cache, run-cache or remote has is restored, not built again. A remote that cannot be reached costs
    the time to build, never the verdict: DVC goes on without it. A missing DVC is a `StateError`.
    """
    run, first = uuid.uuid4().hex, Reproduced((), None, "", ExitCode.PASS)
    if anew:
        _forget(root, anew)
        first = _repro(root, ["--no-run-cache", *anew], echo, run, shared=shared)
        if first.failed is not None:
            return first
    done = _repro(root, ["--keep-going"], echo, run, shared=shared)
    return replace(done, ran=(*first.ran, *done.ran))


def _forget(root: Path, stages: Sequence[str]) -> None:
    """Take stages out of `dvc.lock`, so that DVC has to run them."""
    content = read_yaml(root / LOCK)
    kept = {name: entry for name, entry in content["stages"].items() if name not in stages}
    atomic_write(root / LOCK, yaml.safe_dump({**content, "stages": kept}, sort_keys=False).encode())


def _repro(root: Path, options: Sequence[str], echo: Echo, run: str, *, shared: bool) -> Reproduced:
    lines: list[str] = []
    try:
        with subprocess.Popen(
            ["dvc", "repro", "--pull", *options],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "DVC_NO_ANALYTICS": "1", RUN_VARIABLE: run, SHARED_VARIABLE: "yes" if shared else ""},
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                echo(lines[-1])
        code = process.returncode
    except FileNotFoundError as error:
        raise StateError("dvc not found", where=str(root), fix="pip install 'weighbridge[pipeline]'") from error
    return replace(read_output(lines, code), run=run)


def read_output(lines: list[str], code: int) -> Reproduced:
    """What DVC's output and exit code say. An exit code other than 0 is a failure whatever the output says."""
    ran = tuple(match["stage"] for line in lines if (match := _RAN.match(line)))
    if code == 0:
        return Reproduced(ran, None, "", ExitCode.PASS)
    said = [match["message"] for line in lines if (match := _ERROR.search(line))]
    failed = [match["stages"] for line in lines if (match := _FAILED.search(line))]
    stages = list(dict.fromkeys(match["stage"] for names in failed for match in _STAGE.finditer(names)))
    codes = [int(match["code"]) for line in lines if (match := _CODE.search(line))]
    errors = [line.partition("ERROR: ")[2] for line in lines if "ERROR: " in line]
    usage = bool(codes) and all(code == ExitCode.USAGE for code in codes)
    message = "; ".join(dict.fromkeys(said)) or (errors or [f"dvc repro exited with {code}"])[-1]
    untargeted = _UNTARGETED.search("\n".join(lines))
    if untargeted:
        message, usage = f"{PARAMS}: {untargeted['recipe']} names no target (add `target: {DEFAULT_TARGET}`)", True
    return Reproduced(
        ran, ", ".join(stages) or "dvc", message, ExitCode.USAGE if usage else ExitCode.UNJUDGED
    )  # fmt: skip
