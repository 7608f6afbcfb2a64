"""Where artifacts are weighed, and the candidates that targets and devices make of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from weighbridge.core.documents.base import Written
from weighbridge.core.facts.targets import TargetName

LOCAL = "local"
"""The machine that the pipeline runs on."""


def _address(value: str) -> str:
    rest = value.removeprefix("ssh://")
    host, _, port = rest.rpartition("@")[2].partition(":")
    user = rest.rpartition("@")[0] if "@" in rest else "x"
    words = (user, host)
    plain = all(word and not word.startswith("-") and all(c.isalnum() or c in "-._" for c in word) for word in words)
    if rest == value or not plain or (":" in rest and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError("expected ssh://[user@]host[:port]")
    return value


def _folder(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/"):
        raise ValueError("expected an absolute path")
    return value


class DeviceSection(Written):
    """A machine that artifacts are weighed on: this one, one behind `address`, or what `command` reaches."""

    address: Annotated[str, AfterValidator(_address)] | None = None
    """`ssh://[user@]host[:port]`, reached by OpenSSH with the user's own configuration and keys."""
    python: str = Field(default="python3", min_length=1, pattern=r"^[^-\s]\S*$")
    """The interpreter there: it needs numpy and the target's runtime."""
    folder: Annotated[str, AfterValidator(_folder)] = "/tmp"  # noqa: S108  # a private folder is made below it
    """Where a private folder is made for the time of the weighing, and removed."""
    command: list[str] | None = Field(default=None, min_length=1)
    """A harness of the user's own: gets a request as JSON on standard input, gives samples as JSON."""
    computes_here: bool = False
    """Whether the command computes on this machine, as an emulator does: then weighing there holds this machine too."""
    targets: list[TargetName] | None = Field(default=None, min_length=1)
    """What is weighed there; every target where it is not given."""
    device_class: str | None = Field(default=None, min_length=1)
    """Its class in budgets and verdicts; by default the section's name, and for this machine its processor."""
    threads: int | None = Field(default=None, ge=1, le=256)
    """Instead of `weighing.threads`."""
    cores: list[int] | None = Field(default=None, min_length=1)
    """Cores that the timed processes are pinned to."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.address is not None and self.command is not None:
            raise ValueError("expected at most one of 'address' and 'command'")
        if self.address is None:
            remote = sorted({"python", "folder"} & self.model_fields_set)
            if remote:
                raise ValueError(f"'{remote[0]}' needs an 'address'")
        if self.computes_here and self.command is None:
            raise ValueError("'computes_here' needs a 'command'")
        if self.cores is not None and (min(self.cores) < 0 or len(set(self.cores)) != len(self.cores)):
            raise ValueError("'cores' are different numbers from 0")
        return self

    @property
    def here(self) -> bool:
        """Whether it is the machine that the pipeline runs on."""
        return self.address is None and self.command is None

    @property
    def occupies_here(self) -> bool:
        """Whether weighing on it keeps the machine busy that the pipeline runs on."""
        return self.here or self.computes_here


@dataclass(frozen=True)
class Candidate:
    """One artifact on one device: what is weighed and judged."""

    recipe: str
    target: str
    device: str
    """Its name under `devices:`."""
    name: str
    """In verdicts and reports: the recipe, with `/target` where it has several, with `@device` elsewhere than here."""

    @property
    def folder(self) -> str:
        """Of the artifact, relative to the project."""
        return recipe_folder(self.recipe, self.target)

    @property
    def measurement(self) -> str:
        """The measurement's file, relative to the project."""
        return f"measurements/{self.recipe}/{self.target}@{self.device}.json"

    @property
    def refusal(self) -> str:
        """The file that says why there is no measurement, relative to the project."""
        return f"measurements/{self.recipe}/{self.target}@{self.device}.refusal.json"


def baseline_folder(target: str) -> str:
    """Folder of the uncompressed artifact for a target, relative to the project."""
    return f"artifacts/baseline/{target}"


def built_folder(recipe: str) -> str:
    """What the stage `compress` makes of a recipe, relative to the project: a folder for each target, or a refusal."""
    return f"artifacts/recipes/{recipe}"


def recipe_folder(recipe: str, target: str) -> str:
    """Folder of a recipe's artifact for a target, relative to the project."""
    return f"{built_folder(recipe)}/{target}"
