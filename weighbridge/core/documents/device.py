"""The machine that an artifact is weighed on."""

from __future__ import annotations

from pydantic import Field

from weighbridge.core.documents.base import SCHEMA_VERSION, Digest, Recorded
from weighbridge.core.documents.devices import LOCAL


class Device(Recorded):
    """What decides how fast an artifact runs and, for int8, what it answers."""

    schema_version: int = SCHEMA_VERSION
    device_class: str
    """Declared name (`ci-2core`), or CPU model and cores where none was declared."""
    cpu: str
    isa: list[str]
    """Instruction sets that change kernels or results, sorted: avx2, avx512f, avx512_vnni, neon, …"""
    cores: int = Field(ge=1)
    memory_bytes: int = Field(ge=0)
    system: str
    """Operating system, kernel and machine, e.g. `Linux 6.1 x86_64`."""
    runtimes: dict[str, str]
    """Version of Python, numpy and each installed runtime."""
    fingerprint: Digest
    """Digest over the fields above: another fingerprint is another device."""
    name: str = LOCAL
    """Its name under `devices:` in `params.yaml`."""
