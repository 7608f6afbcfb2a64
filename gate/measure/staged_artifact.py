"""An artifact's files where a worker reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StagedArtifact:
    """One model as a worker gets it: files with their digests, the model's own first."""

    name: str
    """How faults name it: `baseline`, `candidate`, `stable`."""
    files: tuple[tuple[str, str], ...]
    adapter: Path
    """The runtime's file, see `weighbridge.gate.measure.runtimes`."""
    inputs: tuple[str, ...] = ()
    """Names of the model's inputs in its own order, for runtimes that know no names."""
    libraries: tuple[tuple[str, str], ...] = ()
    """Libraries of custom operators with their digests."""

    @property
    def loaded(self) -> dict[str, Any]:
        """What a request to load it says."""
        said: dict[str, Any] = {"files": self.files, "inputs": list(self.inputs)}
        return {**said, "libraries": self.libraries} if self.libraries else said
