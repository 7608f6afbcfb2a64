"""What a machine says of itself: processor, instruction sets, memory, runtimes, and how busy its cores are.

This module runs on the machine that is measured, here or behind SSH: it imports the standard library alone.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from weighbridge.core.facts.isa import RECORDED
from weighbridge.core.facts.targets import TARGETS


def facts(device_class: str | None = None, proc: Path = Path("/proc")) -> dict[str, Any]:
    """What decides how fast an artifact runs. The same machine gives the same facts, whatever else it is doing.

    Without a `device_class` that was declared it is the processor's name and the number of cores.
    """
    cpuinfo = _read(proc / "cpuinfo")
    cores = len(allowed_cores())
    cpu = _first(cpuinfo, "model name", "Model", "Hardware") or platform.processor() or platform.machine()
    flags = (_first(cpuinfo, "flags", "Features") or "").split()
    return {
        "device_class": device_class or f"{cpu}, {cores} cores",
        "cpu": cpu,
        "isa": sorted(RECORDED & set(flags)),
        "cores": cores,
        "memory_bytes": _memory(_read(proc / "meminfo")),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        "runtimes": _runtimes(),
    }


def allowed_cores() -> tuple[int, ...]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def busy_seconds(proc: Path = Path("/proc")) -> dict[int, float]:
    """Clock ticks that each core this process may use has been busy since boot, time stolen from it included."""
    found = dict.fromkeys(allowed_cores(), 0.0)
    for line in _read(proc / "stat").splitlines():
        parts = line.split()
        name = parts[0] if parts else ""
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in found:
            ticks = [float(value) for value in parts[1:9]]
            found[int(name[3:])] = sum(ticks) - sum(ticks[3:5])  # all but idle and waiting for disks
    return found


def recent_load(seconds: float = 0.1) -> dict[int, float]:
    """How busy each core is during the next `seconds`, in clock ticks."""
    before = busy_seconds()
    time.sleep(seconds)
    after = busy_seconds()
    return {core: after[core] - before[core] for core in after}


def clock_step_ns(tries: int = 200) -> int:
    """The smallest step of the clock that durations are taken with, as seen by asking it again and again."""
    steps = []
    for _ in range(tries):
        begin = end = time.perf_counter_ns()
        while end == begin:
            end = time.perf_counter_ns()
        steps.append(end - begin)
    return min(steps)


def lock_path(environment: Mapping[str, str]) -> Path:
    """The lock of whoever measures: one file per user and machine, in the runtime directory where there is one."""
    folder = environment.get("XDG_RUNTIME_DIR") or f"{tempfile.gettempdir()}/weighbridge-{os.getuid()}"
    return Path(folder) / "weighbridge-gate.lock"


def _runtimes() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("numpy", *(row.runtime for row in TARGETS.values())):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # a target that is not installed here
    return versions


def _memory(meminfo: str) -> int:
    """Installed bytes in whole GiB: what the kernel keeps for itself changes with every boot."""
    kib = (_first(meminfo, "MemTotal") or "0").split()[0]
    return max(1, round(int(kib) / 2**20)) * 2**30


def _first(text: str, *keys: str) -> str | None:
    for line in text.splitlines():
        key, found, value = line.partition(":")
        if found and key.strip() in keys and value.strip():
            return value.strip()
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
