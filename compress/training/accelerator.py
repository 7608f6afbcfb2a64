"""Where training runs, and in which precision: the CPU in float32 unless params say otherwise."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from weighbridge.core.documents import TrainSection
from weighbridge.core.errors import InputError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WHERE = "params.yaml: train.device"


@dataclass(frozen=True)
class Accelerator:
    """A device and a precision of training."""

    device: torch.device
    name: str
    """`cpu`, or what the driver calls the GPU."""
    precision: str

    def mixed(self) -> AbstractContextManager[object]:
        """The forward pass in the lower precision where operators bear it; nothing for fp32."""
        lower = self.precision != "fp32"
        return torch.autocast(self.device.type, DTYPES[self.precision] if lower else torch.bfloat16, enabled=lower)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss of fp16, whose gradients would vanish; does nothing for the others."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def recorded(self) -> str | None:
        """What a manifest says of it; None for the default, whose bytes are a function of the inputs."""
        return None if (self.name, self.precision) == ("cpu", "fp32") else f"{self.name}, {self.precision}"


def chosen(settings: TrainSection) -> Accelerator:
    """What `train.device` and `train.precision` mean on this machine.

    Raises `InputError` where CUDA is asked for and absent, or a precision that the device does not train in.
    """
    present = settings.device != "cpu" and torch.cuda.is_available()
    if settings.device == "cuda" and not present:
        raise InputError(
            "cuda is asked for, and torch finds no CUDA device",
            where=WHERE,
            fix="device: auto takes the CPU then; a torch for CUDA is on pytorch.org",
        )
    if present:
        # cuBLAS adds up in a fixed order only with a workspace of fixed size, read when CUDA starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        return Accelerator(torch.device("cuda"), torch.cuda.get_device_name(), settings.precision)
    if settings.precision == "fp16":
        raise InputError("fp16 trains on CUDA alone", where="params.yaml: train.precision", fix="precision: bf16")
    return Accelerator(torch.device("cpu"), "cpu", settings.precision)
