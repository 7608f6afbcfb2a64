"""The section `inputs` of params.yaml: how examples are fed where a model's shapes do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weighbridge.core.documents.base import Written


class InputSection(Written):
    """How one input is fed. The data's array is (n, …) whatever the input's own axes are."""

    batch_axis: int | None = Field(default=None, ge=0, le=8)
    """The axis of the input that counts examples; 0 where it is not given."""
    constant: bool = False
    """The same value for every inference, such as a sampling rate: it has no axis for examples."""
    carry: str | None = None
    """The output that is fed back: examples are a stream, in the data's order, and where the data's `groups` change a
    new one begins. A stream begins with the data's array, or with zeros where the data has none."""

    free_axes: list[Annotated[int, Field(ge=0, le=8)]] = []
    """Of a module's input: axes beside the batch whose length differs, such as tokens or a cache; the export leaves
    them open."""
    missing: bool = False
    """Values may be missing: the data's array may contain NaN, which the model is given as it is."""
    rows: Literal["mean", "max", "all"] | None = None
    """An example is several rows of the input, which are fed together: the data's array is (n, rows, …), or a list of
    (rows, …). Its answer is the mean or the largest of its rows' scores, or `all` of them (n, rows, …)."""
    step: Literal["last", "grow", "count"] | None = None
    """Of a model with a cache: what a step of one token after a prompt gets. `last`, which is taken where it is not
    given: the prompt's last entry. `grow`: all of the prompt's and one more (an attention mask). `count`: the number
    after the prompt's last (positions)."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.constant and (self.batch_axis is not None or self.carry is not None):
            raise ValueError("an input that is constant has neither 'batch_axis' nor 'carry'")
        if not self.model_fields_set:
            raise ValueError(
                "expected one of 'batch_axis', 'constant: true', 'carry', 'free_axes', 'missing', 'rows' and 'step'"
            )
        if self.missing and (self.constant or self.carry is not None):
            raise ValueError("'missing' is for what is neither constant nor carried")
        if self.rows is not None and (self.constant or self.carry is not None or self.batch_axis):
            raise ValueError("'rows' is for what is neither constant nor carried, and lies along the first axis")
        if self.step is not None and (self.constant or self.carry is not None):
            raise ValueError("'step' is for what is neither constant nor carried")
        if self.axis in self.free_axes:
            raise ValueError(f"axis {self.axis} counts examples: it is open already")
        return self

    @property
    def axis(self) -> int:
        """The axis that counts examples."""
        return self.batch_axis or 0


def missing_in(inputs: Mapping[str, InputSection]) -> frozenset[str]:
    """The inputs whose values may be missing."""
    return frozenset(name for name, section in inputs.items() if section.missing)


def rows_rule(inputs: Mapping[str, InputSection]) -> str | None:
    """How rows become one answer; None where an example is one row. Two rules at once are a `ValueError`."""
    rules = {section.rows for section in inputs.values() if section.rows is not None}
    if len(rules) > 1:
        raise ValueError(f"inputs name two rules for rows: {', '.join(sorted(rules))}")
    return next(iter(rules), None)
