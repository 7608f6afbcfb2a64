"""What the pipeline has to do, as items that any machine can take: making, weighing, judging.

*Making* is a pure function of its inputs, anywhere. *Weighing* holds its device: one at a time on each. *Judging* is
pure. An item's key is over the content that it depends on, so that what is done is never done again, here or elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from weighbridge.core.documents import Budget, Params, built_folder
from weighbridge.core.documents.manifest import recipe_core
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import atomic_write, canonical_json, sha256_bytes

Kind = Literal["make", "weigh", "judge"]
STAMPS = Path(".weighbridge") / "plan"
ATTEMPTS = 3
"""How often an item is begun whose worker dies."""


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
    devices: tuple[str, ...] = ()
    """Names of the devices that it holds while it runs."""

    @property
    def command(self) -> tuple[str, ...]:
        """The words after `weighbridge` that do it."""
        words = {"make": ("compress", self.name), "weigh": ("weigh", self.name), "judge": ("judge",)}
        return ("stage", *words[self.kind])

    @property
    def output(self) -> str:
        """What it makes, relative to the project."""
        made = {"make": built_folder(self.name), "weigh": f"measurements/{self.name}", "judge": "reports/verdict.json"}
        return made[self.kind]

    def to_json(self) -> dict[str, Any]:
        """As `weighbridge plan --json` prints it."""
        return {**vars(self), "needs": list(self.needs), "devices": list(self.devices), "command": list(self.command)}


def plan(params: Params, inputs: str) -> list[Item]:
    """All items in an order that they can be done in. `inputs` is a digest of code, data and baselines."""
    common = [inputs, params.model.model_dump(mode="json"), params.train.model_dump(mode="json")]
    settings = [
        params.weighing.model_dump(mode="json"),
        {name: section.model_dump(mode="json") for name, section in params.devices.items()},
    ]
    base = _digest(common)
    made, weighings = [], []
    for name, section in params.recipes.items():
        make = Item("make", name, _digest([base, recipe_core(section.model_dump(mode="json"))]))
        devices = tuple(dict.fromkeys(candidate.device for candidate in params.candidates(name)))
        made.append(make)
        asked = _asked(params.budgets_of(name))
        weighings.append(Item("weigh", name, _digest([make.key, _digest([asked, *settings])]), (make.key,), devices))
    keys = tuple(item.key for item in weighings)
    judged = Item("judge", params.model.name, _digest([keys, _asked(params.budgets)]), keys)
    return [*made, *weighings, judged]


def _asked(budgets: Sequence[Budget]) -> list[dict[str, Any]]:
    return [budget.model_dump(mode="json") for budget in budgets]


def shard(items: Sequence[Item], which: str) -> list[Item]:
    """The items of part `i/n`, from 1: by key, so that a part keeps its items when others are added."""
    number, _, parts = which.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise InputError(f"expected I/N with I from 1 to N, got {which!r}", where="--shard")
    return [item for item in items if int(item.key.removeprefix("sha256:")[:12], 16) % int(parts) == int(number) - 1]


class Stamps:
    """What is done, one file per key: written whole after the work, read by whoever comes next."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / STAMPS

    def done(self, item: Item) -> bool:
        """Whether an item of this content was done, and what it made is still there."""
        return self._path(item).is_file() and (self.root / item.output).exists()

    def stamp(self, item: Item) -> None:
        """Say that it is."""
        atomic_write(self._path(item), canonical_json(item.to_json()))

    def _path(self, item: Item) -> Path:
        return self.folder / f"{item.kind}-{item.key.removeprefix('sha256:')}"


def execute(
    items: Sequence[Item], run: Callable[[Item], int], stamps: Stamps, workers: int = 1
) -> Iterator[tuple[Item, int]]:
    """Do what is not done, `workers` at once and never two on one device; each item with its exit code as it ends.

    `run` gives the exit code; a negative one says that the worker died, and the item is begun again. What needs a
    failed item is left out. Raises `StateError` where an item's worker dies every time.
    """
    order = [item for item in items if not stamps.done(item)]
    open_keys = {item.key for item in order}
    failed: set[str] = set()
    running: dict[Future[int], tuple[Item, int]] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        while order or running:
            for item in list(order):
                if failed & set(item.needs):
                    order.remove(item)
                    failed.add(item.key)
                elif len(running) < workers and _free(item, open_keys, running):
                    order.remove(item)
                    running[pool.submit(run, item)] = (item, 1)
            if not running:
                continue
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                item, attempt = running.pop(future)
                code = future.result()
                if code < 0 and attempt < ATTEMPTS:
                    running[pool.submit(run, item)] = (item, attempt + 1)
                    continue
                if code < 0:
                    raise StateError(f"its worker died {ATTEMPTS} times", where=f"{item.kind} {item.name}")
                if code == 0:
                    stamps.stamp(item)
                    open_keys.discard(item.key)
                else:
                    failed.add(item.key)
                yield item, code


def _free(item: Item, open_keys: set[str], running: Mapping[Future[int], tuple[Item, int]]) -> bool:
    """Whether all that it needs is done, and nobody holds its devices."""
    held = {device for other, _ in running.values() for device in other.devices}
    return not open_keys & set(item.needs) and not held & set(item.devices)


def _digest(value: Any) -> str:
    return sha256_bytes(canonical_json(value))


__all__ = ["Item", "Stamps", "execute", "plan", "shard"]
