"""What decides how fast an artifact runs, and the fingerprint over it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from gate.runtimes import RUNTIMES
from weighbridge.documents import Device
from weighbridge.files import canonical_json, sha256_bytes

CLASS_VARIABLE = "WEIGHBRIDGE_DEVICE_CLASS"

ISA = frozenset({
    "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni",
    "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
})  # fmt: skip
"""Flags that choose kernels or change an int8 result; the rest of /proc/cpuinfo does neither."""


def describe(environment: Mapping[str, str], proc: Path = Path("/proc")) -> Device:
    """Describe this machine. The same machine gives the same document, whatever else it is doing."""
    cpuinfo = _read(proc / "cpuinfo")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu = _first(cpuinfo, "model name", "Model", "Hardware") or platform.processor() or platform.machine()
    flags = (_first(cpuinfo, "flags", "Features") or "").split()
    facts = {
        "device_class": environment.get(CLASS_VARIABLE, "").strip() or f"{cpu}, {cores} cores",
        "cpu": cpu,
        "isa": sorted(ISA & set(flags)),
        "cores": cores,
        "memory_bytes": _memory(_read(proc / "meminfo")),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        "runtimes": _runtimes(),
    }
    return Device.model_validate({**facts, "fingerprint": sha256_bytes(canonical_json(facts))})


def busy_seconds(proc: Path = Path("/proc")) -> dict[int, float]:
    """Clock ticks that each core this process may use has been busy since boot, time stolen from it included."""
    allowed = os.sched_getaffinity(0)
    found = dict.fromkeys(sorted(allowed), 0.0)
    for line in _read(proc / "stat").splitlines():
        parts = line.split()
        name = parts[0] if parts else ""
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in found:
            ticks = [float(value) for value in parts[1:9]]
            found[int(name[3:])] = sum(ticks) - sum(ticks[3:5])  # all but idle and waiting for disks
    return found


def _runtimes() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("numpy", *(runtime.package for runtime in RUNTIMES.values())):
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
