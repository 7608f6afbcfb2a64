"""What a model is between lowering steps, where files are made from the module itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import ModelProto
from torch import nn

from weighbridge.compress.steps import Facts
from weighbridge.data import Split


@dataclass(frozen=True)
class Program:
    """The model between lowering steps, for a target whose files are made from the module itself."""

    module: nn.Module
    """What the file was made from."""
    data: bytes
    """The converter's own file, values still named."""
    example: Split
    """The data that it was traced on."""
    network: ModelProto
    """The same module's ONNX export: parameters and multiply-accumulates are counted on it for every target alike."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: Facts = field(default_factory=dict)
    """Notes of the module steps."""

    @property
    def model(self) -> bytes:
        """What `Target.write` takes."""
        return self.data
