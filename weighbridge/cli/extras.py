"""Which extra brings a module that is not installed, so that a command can say how to get it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.facts.targets import TARGETS

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "gate": ("matplotlib", "numpy", "onnx", "onnxruntime", "scipy", "zstandard"),
    "compress": ("onnxscript", "onnx_ir", "safetensors", "torch", "torch_pruning"),
    "keyless": ("sigstore",),
    "pipeline": ("dvc", "ruamel"),
    "ray": ("ray",),
    "s3": ("boto3", "botocore"),
    "serve": ("prometheus_client", "starlette", "uvicorn"),
    "traces": ("opentelemetry",),
    "search": ("optuna",),
    "watch": ("river",),
    **{
        row.extra: tuple(name.replace("-", "_") for name in (*row.converters, row.runtime) if name not in row.training)
        for row in TARGETS.values()
        if row.extra not in {"gate", "compress"}
    },
}
"""Extra of this distribution → the modules that it brings first."""


def missing_extra(error: ModuleNotFoundError) -> WeighbridgeError | None:
    """The error to show instead; None where the missing module comes with no extra.

    What compresses needs more than the gate: where its code asked for numpy, the extra is `compress`.
    """
    module = (error.name or "").partition(".")[0]
    extra = next((name for name, modules in EXTRAS.items() if module in modules), None)
    if extra is None:
        return None
    asked = {str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)}
    if extra == "gate" and any(name.startswith("weighbridge.compress") for name in asked):
        extra = "compress"
    return WeighbridgeError(f"the module {module} is not installed", fix=f"pip install 'weighbridge[{extra}]'")
