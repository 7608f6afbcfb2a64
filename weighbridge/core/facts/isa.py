"""Instruction sets: what a processor has, and what an artifact requires of the one that runs it.

This module travels to devices: it imports the standard library only.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

RECORDED = frozenset({
    "sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni",
    "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2",
})  # fmt: skip
"""Flags that a device's document records: they choose kernels at run time; the rest of /proc/cpuinfo does not."""

KERNELS = frozenset(
    {"avx", "avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "fma", "sse4_1", "asimd", "asimddp"}
)
"""Instruction sets that choose kernels and with them the last bits of a result."""

VNNI = frozenset({"avx512_vnni", "avx_vnni", "avxvnni", "amx_int8"})
"""Any of these multiplies U8 by S8 into 32 bits; without them two products are first added in 16 bits and saturate."""

REQUIREMENTS = {"vnni": frozenset({"vnni", *VNNI})}
"""What an artifact may require → flags of x86-64 processors of which one suffices. Arm64 kernels widen before they add,
and so need nothing for it."""

ARM64 = ("aarch64", "arm64")


@dataclass(frozen=True)
class Host:
    """A processor that would run an artifact."""

    machine: str
    """`x86_64`, `aarch64` …"""
    features: frozenset[str]
    """Flags as the Linux kernel names them."""
    name: str = "this host"

    def lacks(self, requires: Iterable[str]) -> tuple[str, ...]:
        """Which of an artifact's requirements the processor does not meet; one that is not known here is among them."""
        arm = self.machine.lower() in ARM64
        plain = {_plain(flag) for flag in self.features}
        return tuple(
            name
            for name in requires
            if name not in REQUIREMENTS or not (arm or plain & {_plain(flag) for flag in REQUIREMENTS[name]})
        )


_WIDEST = (
    ("AMX int8", {"amx_int8"}),
    ("AVX-512 with VNNI", {"avx512_vnni"}),
    ("AVX-512 without VNNI", {"avx512f"}),
    ("AVX2 with VNNI", {"avx_vnni", "avxvnni"}),
    ("AVX2 without VNNI", {"avx2"}),
    ("AVX", {"avx"}),
    ("NEON with dot product", {"asimddp"}),
    ("NEON", {"asimd", "neon"}),
)


def widest(features: Iterable[str]) -> str:
    """The instruction sets that decide a processor's speed on a model, for people; ratios differ with them."""
    found = set(features)
    return next((name for name, flags in _WIDEST if flags & found), "instruction sets not known")


def this_host() -> Host:
    """The processor of this machine."""
    return Host(platform.machine(), flags())


def named_host(text: str) -> Host:
    """A processor by its instruction sets, such as `avx2,avx512_vnni`, or `arm64`; as people write them."""
    words = frozenset(word for word in re.split(r"[\s,]+", text.lower()) if word)
    arm = any(word in words for word in ARM64)
    return Host("aarch64" if arm else "x86_64", words, f"a host with {', '.join(sorted(words)) or 'nothing named'}")


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


def _plain(flag: str) -> str:
    """`AVX512VNNI` and `avx512_vnni` are one."""
    return flag.lower().replace("_", "").replace("-", "")
