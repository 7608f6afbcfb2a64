"""Instruction sets of the processor that artifacts are compressed on."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

KERNELS = frozenset(
    {"avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "fma", "sse4_1", "asimd", "asimddp"}
)
"""Instruction sets that choose kernels and with them the last bits of a result."""

VNNI = frozenset({"avx512_vnni", "avx_vnni", "avxvnni", "amx_int8"})
"""Any of these multiplies U8 by S8 into 32 bits; without them two products are first added in 16 bits and saturate."""


def flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Feature flags as the Linux kernel names them; empty where the system does not tell."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def saturates(features: frozenset[str], machine: str | None = None) -> bool:
    """Whether onnxruntime's U8 x S8 kernels saturate here (onnxruntime#6004): on x86 without VNNI.

    ARM kernels widen before they add. An x86 processor that does not tell its flags is taken as saturating.
    """
    kind = (machine or platform.machine()).lower()
    return kind in {"x86_64", "amd64", "i686", "x86"} and not features & VNNI
