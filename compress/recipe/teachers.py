"""Where a teacher comes from: the baseline, or any artifact of this project by its digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weighbridge.compress.export.onnxruntime import run
from weighbridge.compress.recipe.project_folder import Project
from weighbridge.core.errors import InputError, IntegrityError
from weighbridge.core.files import DIGEST, read_bytes, sha256_bytes
from weighbridge.core.formats.onnx_file import parse_model, signature


@dataclass
class Teachers:
    """Finds teachers, and remembers which were asked for."""

    project: Project
    target: str
    used: list[str] = field(default_factory=list)
    """Digests, in the order in which they were asked for."""

    def __call__(self, name: str) -> tuple[nn.Module, str]:
        """`baseline`, or `sha256:…` of an artifact under `artifacts/` → (module in eval mode, digest)."""
        if name == "baseline":
            module, digest = self.project.trained_module(), self.project.baseline_manifest(self.target).artifact.digest
        elif DIGEST.fullmatch(name):
            path = self._find(name)
            module, digest = OnnxTeacher(read_bytes(path), str(path)), name
        else:
            raise InputError(f"{name!r} is no teacher", where="distill: teacher", fix="'baseline' or 'sha256:<64 hex>'")
        self.used.append(digest)
        return module, digest

    def _find(self, digest: str) -> Path:
        folder = self.project.root / "artifacts"
        for path in sorted(folder.rglob("*.onnx")):
            if sha256_bytes(read_bytes(path)) == digest:
                return path
        raise InputError(
            f"no artifact with the digest {digest} lies under {folder}",
            where="distill: teacher",
            fix="fetch that version from the registry into artifacts/teachers/",
        )


class OnnxTeacher(nn.Module):
    """An ONNX file as a module that answers and cannot be trained."""

    def __init__(self, data: bytes, where: str) -> None:
        super().__init__()
        self.data = data
        self.names = [port.name for port in signature(parse_model(data, where)).inputs]

    def forward(self, *values: Tensor, **named: Tensor) -> Any:
        """All outputs on a batch; inputs by name, or in the file's order."""
        given = named or dict(zip(self.names, values, strict=True))
        missing = [name for name in self.names if name not in given]
        if missing:
            raise InputError(f"the teacher takes an input {missing[0]!r}, which the data does not have")
        found = run(self.data, {name: given[name].cpu().numpy() for name in self.names})
        if not found:
            raise IntegrityError("the teacher gave no output")
        tensors = tuple(torch.from_numpy(np.ascontiguousarray(output)) for output in found)
        return tensors[0] if len(tensors) == 1 else tensors
