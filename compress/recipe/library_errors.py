"""Errors of the libraries that build a file, as errors of the recipe."""

from __future__ import annotations

import traceback

import onnx

from weighbridge.compress.graph.sessions import ORT_ERRORS

LIBRARY_ERRORS = (
    *ORT_ERRORS,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)
"""What libraries raise on models that they do not know."""


def of_library(error: BaseException) -> str | None:
    """The package that raised an error; None where that was this program, whose defects are not the model's."""
    frames = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    package = frames[-1].partition(".")[0]
    if package != "weighbridge":
        return package
    if isinstance(error, ORT_ERRORS):
        return "onnxruntime"
    return "torch" if type(error) is RuntimeError else None  # compiled code leaves no frame of its own


def out_of_memory(error: BaseException) -> bool:
    """Whether a library ran out of memory: a matter of the machine, not of the model."""
    text = str(error)
    return any(said in text for said in ("can't allocate memory", "Failed to allocate memory", "bad_alloc"))


def first_line(error: BaseException) -> str:
    """What a library said first; `no reason given` where it said nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
