"""What the pipeline has to do, as items that any machine can take: making, weighing, judging.

*Making* is a pure function of its inputs, anywhere. *Weighing* holds its device: one at a time on each. *Judging* is
pure. An item's key is over the content that it depends on, so that what is done is never done again, here or elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weighbridge.core.documents import Budget, Params, built_folder
from weighbridge.core.documents.manifest import recipe_core
from weighbridge.core.errors import InputError
from weighbridge.core.files import canonical_json, sha256_bytes

Kind = Literal["make", "weigh", "judge"]
MOST_JOBS = 256
"""Jobs of one matrix on GitHub."""


@dataclass(frozen=True)
class Item:
    """One piece of work."""

    kind: Kind
    name: str
    """The recipe; of judging, the project."""
    key: str
    """SHA-256 over what the result depends on."""
    needs: tuple[str, ...] = ()
    """Keys of items that come before."""
    device: str | None = None
    """Of weighing, the name of the device that it holds while it runs."""

    @property
    def command(self) -> tuple[str, ...]:
        """The words after `weighbridge` that do it."""
        device = () if self.device is None else ("--device", self.device)
        words = {"make": ("compress", self.name), "weigh": ("weigh", self.name, *device), "judge": ("judge",)}
        return ("stage", *words[self.kind])

    @property
    def patterns(self) -> tuple[str, ...]:
        """What it writes, as glob patterns relative to the project."""
        weighed = tuple(f"measurements/{self.name}/*@{self.device}{end}" for end in (".json", ".refusal.json"))
        made = {"make": (f"{built_folder(self.name)}/**/*",), "weigh": weighed, "judge": ("reports/verdict.json",)}
        return made[self.kind]

    def files(self, root: Path) -> list[Path]:
        """What it wrote, in order."""
        return sorted(path for pattern in self.patterns for path in root.glob(pattern) if path.is_file())

    def to_json(self) -> dict[str, Any]:
        """As `weighbridge plan --json` prints it."""
        return {**vars(self), "needs": list(self.needs), "command": list(self.command)}

    @classmethod
    def of_json(cls, given: dict[str, Any]) -> Item:
        """The item that `to_json` wrote."""
        return cls(given["kind"], given["name"], given["key"], tuple(given["needs"]), given["device"])


def plan(params: Params, inputs: str, stable: str = "") -> list[Item]:
    """All items in an order that they can be done in. `inputs` is a digest of code, data and baselines, `stable` of
    what the registry serves.
    """
    common = [inputs, params.model.model_dump(mode="json"), params.train.model_dump(mode="json")]
    base, settings = _digest(common), params.weighing.model_dump(mode="json")
    places = {name: section.model_dump(mode="json") for name, section in params.devices.items()}
    made, weighings = [], []
    devices: dict[str, dict[str, None]] = {}
    for candidate in params.candidates():
        devices.setdefault(candidate.recipe, {})[candidate.device] = None
    for name, section in params.recipes.items():
        # The name is part of the key: two recipes of the same steps are two items, with files of their own.
        make = Item("make", name, _digest([base, name, recipe_core(section.model_dump(mode="json"))]))
        made.append(make)
        asked = _asked(params.budgets_of(name))
        for device in devices[name]:
            key = _digest([make.key, asked, settings, device, places[device], stable])
            weighings.append(Item("weigh", name, key, (make.key,), device))
    keys = tuple(item.key for item in weighings)
    judged = Item("judge", params.model.name, _digest([keys, _asked(params.budgets)]), keys)
    return [*made, *weighings, judged]


def line(item: Item) -> str:
    """An item for a terminal."""
    where = "" if item.device is None else f" on {item.device}"
    return f"{item.kind} {item.name}{where} {item.key.removeprefix('sha256:')[:12]}"


def matrix(items: Sequence[Item], params: Params) -> str:
    """The recipes to make and the devices to weigh on, as lines for `$GITHUB_OUTPUT`, each a JSON list.

    A device's class, by default its name, says which runner reaches it. An `InputError` beyond what GitHub runs.
    """
    recipes = [item.name for item in items if item.kind == "make"]
    names = dict.fromkeys(item.device for item in items if item.device is not None)
    devices = [{"device": name, "class": params.devices[name].device_class or name} for name in names]
    for rows in (recipes, devices):
        if len(rows) > MOST_JOBS:
            raise InputError(
                f"{len(rows)} jobs, and GitHub runs at most {MOST_JOBS} of a matrix",
                where="--matrix",
                fix="--shard I/N lists a part",
            )
    return f"recipes={json.dumps(recipes)}\ndevices={json.dumps(devices)}\n"


def _asked(budgets: Sequence[Budget]) -> list[dict[str, Any]]:
    return [budget.model_dump(mode="json") for budget in budgets]


def shard(items: Sequence[Item], which: str) -> list[Item]:
    """The items of part `i/n`, from 1: by key, so that a part keeps its items when others are added."""
    number, _, parts = which.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise InputError(f"expected I/N with I from 1 to N, got {which!r}", where="--shard")
    return [item for item in items if int(item.key.removeprefix("sha256:")[:12], 16) % int(parts) == int(number) - 1]


def _digest(value: Any) -> str:
    return sha256_bytes(canonical_json(value))


__all__ = ["Item", "Kind", "line", "matrix", "plan", "shard"]
