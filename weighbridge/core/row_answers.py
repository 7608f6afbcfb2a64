"""Examples of several rows: the rows' answers become the example's.

Numpy alone: a device gets this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

RULES: dict[str, Callable[[Array], Array]] = {
    "mean": lambda rows: np.asarray(rows.mean(axis=0, keepdims=True), rows.dtype),
    "max": lambda rows: np.asarray(rows.max(axis=0, keepdims=True)),
    "all": lambda rows: rows[None],
}
"""By rule: the answer (1, …) to an example from those to its rows (r, …)."""


def of_rows(output: Array, rule: str, rows: int) -> Array:
    """The answer (1, …) to one example of so many rows: one that the model gives for the whole example stays.

    Raises `ValueError` for an output with another number of rows, and for a mean of what are no scores.
    """
    if output.ndim and len(output) == 1 and (rows != 1 or rule != "all"):
        return output
    if output.ndim == 0 or len(output) != rows:
        raise ValueError(f"an output of shape {output.shape} has no answer for each of the {rows} rows of an example")
    if rule == "mean" and output.dtype.kind != "f":
        raise ValueError(f"the mean of an output of {output.dtype} means nothing: judge scores, or take `rows: max`")
    return RULES[rule](output)
