"""Section `policy:` of `params.yaml`: what a change of the rules costs."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from weighbridge.core.documents.base import Written
from weighbridge.core.errors import InputError
from weighbridge.core.facts.policy_changes import Reaction, find_change_kind


class PolicySection(Written):
    """What a change of the rules costs. Read from the merge base, so that no change decides on itself."""

    on_change: dict[str, Reaction] = {}
    """By kind of policy change (see `weighbridge.core.facts.policy_changes`): `tell` or `require-waiver`."""
    waiver_days: int = Field(default=90, ge=1, le=3650)
    """Days from today that a waiver may run at most."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        for kind in self.on_change:
            try:
                find_change_kind(kind)
            except InputError as error:
                raise ValueError(str(error)) from error
        return self

    def reaction(self, kind: str) -> Reaction:
        """What a change of that kind costs; the table's default where the policy says nothing."""
        return self.on_change.get(kind, find_change_kind(kind).default)
