"""The machine that an artifact is weighed on."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from weighbridge.core.documents.base import SCHEMA_VERSION, Digest, Recorded
from weighbridge.core.documents.devices import LOCAL
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.files import canonical_json, sha256_bytes

FACTS = ("device_class", "cpu", "isa", "cores", "memory_bytes", "system", "runtimes")
"""What decides how fast an artifact runs: a fingerprint is over these."""


def fingerprint(said: dict[str, Any]) -> str:
    """The digest over what a device says of itself."""
    return sha256_bytes(canonical_json({key: said.get(key) for key in FACTS}))


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

    def for_target(self, target: str) -> Device:
        """The device as the files of one target meet it: versions of other targets' runtimes are no part of it."""
        own = TARGETS[target].runtime if target in TARGETS else ""
        foreign = {row.runtime for row in TARGETS.values()} - {own}
        if not foreign & self.runtimes.keys():
            return self
        runtimes = {name: version for name, version in self.runtimes.items() if name not in foreign}
        said = {**self.to_json(), "runtimes": runtimes}
        return self.model_copy(update={"runtimes": runtimes, "fingerprint": fingerprint(said)})
