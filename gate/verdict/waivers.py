"""Waivers: a named person's recorded acceptance of one failed budget or one policy change, and of nothing else.

One file each in `waivers/*.yaml`. A waiver names exactly what it accepts: the budget, the artifact's digest, its recipe
and device, and the limit `to` which; or one policy change and the value that it may take. There are no wildcards.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from weighbridge.core.documents import LOCAL, Digest, Written, load, parse
from weighbridge.core.errors import InputError
from weighbridge.core.files import canonical_json, sha256_bytes
from weighbridge.core.opening import refuse_link
from weighbridge.core.strict_yaml import parse_yaml

FOLDER = "waivers"

Text = Annotated[str, Field(min_length=1, max_length=2000)]


class Waiver(Written):
    """What one waiver file says."""

    budget: Text
    """The name as the report prints it: a budget (`size.bytes max`; its metric alone where one budget has it), or, for
    a policy change, what changed (`size.bytes max`, `recipe int8`, `test set`).
    """
    to: float | int | str
    """The limit that is accepted, with its unit (`7kB`); for other policy changes the value that the report names."""
    recipe: str | None = None
    """The recipe whose artifact failed."""
    digest: Digest | None = None
    """The artifact that failed, by its bytes."""
    device: str = LOCAL
    """The device that it was weighed on, by its name in `params.yaml`."""
    policy: bool = False
    """Accept a policy change instead of a failed budget."""
    who: Text
    """The person who answers for it."""
    why: Text
    expires: dt.date
    """The last day on which it holds, as YYYY-MM-DD."""

    @model_validator(mode="after")
    def _names_exactly(self) -> Self:
        if not str(self.to).strip():
            raise ValueError("expected 'to' to be the limit that is accepted, such as 7kB")
        named = [self.budget, str(self.to), self.recipe or "", self.device]
        if any(mark in text for text in named for mark in "*?"):
            raise ValueError("a waiver cannot contain wildcards: name exactly what it accepts")
        if self.policy and (self.recipe is not None or self.digest is not None or self.device != LOCAL):
            raise ValueError("expected either 'policy: true' or 'recipe' and 'digest', not both")
        if not self.policy and (self.recipe is None or self.digest is None):
            raise ValueError(
                "expected 'recipe' and 'digest' of the artifact (the report names both), or 'policy: true'"
            )
        return self

    def identity(self) -> str:
        """SHA-256 over what the waiver says, whatever its file is called and however it is formatted."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))


@dataclass(frozen=True)
class FiledWaiver:
    """A waiver and the file that it stands in."""

    file: str
    waiver: Waiver


@dataclass(frozen=True)
class Terms:
    """On what terms waivers hold: what the merge base says of them."""

    days: int = 90
    """Days from today that one may run at most."""
    merged: frozenset[str] = frozenset()
    """Identities of the waivers that the merge base has already: a policy change that they accepted is merged too."""
    compared: bool = True
    """Whether there was a merge base to compare with; without one nothing is known of policy changes."""


def read_waivers(root: Path) -> list[FiledWaiver]:
    """All waivers of a project, by file name; none where there is no folder. A bad file is an `InputError`."""
    folder = root / FOLDER
    refuse_link(folder)
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
    for path in files:
        refuse_link(path)
    stray = [path.name for path in folder.iterdir() if path.suffix == ".json"]
    if stray:
        raise InputError("is not a waiver file", where=f"{FOLDER}/{stray[0]}", fix="waivers are YAML files")
    return [FiledWaiver(f"{FOLDER}/{path.name}", load(Waiver, path)) for path in files]


def identity_in(text: str, where: str) -> str | None:
    """The identity of the waiver in a file's text; None where the text is no waiver that this version reads."""
    try:
        return parse(Waiver, parse_yaml(text, where), where).identity()
    except InputError:
        return None  # what cannot be read accepted nothing, so it cannot be spent either
