"""Items carried out in an order that their needs allow, several at once and never two on one device."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from weighbridge.core.documents.devices import LOCAL
from weighbridge.core.errors import StateError
from weighbridge.core.files import canonical_json
from weighbridge.search.done_items import Stamps
from weighbridge.search.plan import Item

ATTEMPTS = 3
"""How often an item is begun whose worker dies."""


def execute(  # noqa: PLR0913  # keywords, each with a default
    items: Sequence[Item],
    run: Callable[[Item], int],
    stamps: Stamps,
    workers: int = 1,
    *,
    here: Collection[str] = (LOCAL,),
    known: Sequence[Item] = (),
) -> Iterator[tuple[Item, int]]:
    """Do what is not done, `workers` at once; each item with its exit code as it ends.

    `run` does and stamps an item and gives the exit code; a negative one says that the worker died, and the item is
    begun again. What needs a failed item is left out. Making and weighing on a device of `here` share one machine,
    which does nothing else while such a device weighs. `known` is the whole plan. Raises `StateError` for an item whose
    needs are neither done nor among `items`.
    """
    order = [item for item in items if not stamps.done(item)]
    _check_needs(order, {item.key for item in items} | {item.key for item in known if stamps.done(item)})
    queue = _Queue(order, here=here)
    attempts: Counter[str] = Counter()
    running: dict[Future[int], Item] = {}
    ended: SimpleQueue[Future[int]] = SimpleQueue()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        while True:
            while len(running) < workers and (item := queue.next()) is not None:
                attempts[item.key] += 1
                future = pool.submit(run, item)
                running[future] = item
                future.add_done_callback(ended.put)
            if not running:
                return
            future = ended.get()
            item, code = running.pop(future), future.result()
            if code < 0 and attempts[item.key] < ATTEMPTS:
                queue.again(item)
                continue
            queue.end(item, done=code == 0)
            yield item, code


def in_process(root: Path) -> Callable[[Item], int]:
    """What does an item of a project in a process of its own, which claims and stamps it."""

    def run(item: Item) -> int:
        words = ("stage", "item", canonical_json(item.to_json()).decode())
        return subprocess.run([sys.executable, "-m", "weighbridge", *words], cwd=root, check=False).returncode

    return run


def _check_needs(order: Sequence[Item], provided: set[str]) -> None:
    for item in order:
        if not provided.issuperset(item.needs):
            raise StateError(
                "what it needs is not done here",
                where=f"{item.kind} {item.name}",
                fix="weighbridge plan run, or bring it by --from DIR",
            )


@dataclass
class _Queue:
    """What is left to do, and what may begin now."""

    order: Sequence[Item]
    here: Collection[str]
    left: dict[str, int] = field(default_factory=dict)
    """Key → how many of an item's needs are not done yet."""
    after: dict[str, list[Item]] = field(default_factory=dict)
    ready: dict[str, deque[Item]] = field(default_factory=dict)
    """Device, or nothing for what holds none → what may begin, in order."""
    busy: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        opened = {item.key for item in self.order}
        for item in self.order:
            needs = opened & set(item.needs)
            self.left[item.key] = len(needs)
            for key in needs:
                self.after.setdefault(key, []).append(item)
            if not needs:
                self._ready(item)

    def next(self) -> Item | None:
        """What begins now; None where nothing may."""
        for device, waiting in self.ready.items():
            if waiting and self._free(device):
                self.busy[device] += 1
                return waiting.popleft()
        return None

    def again(self, item: Item) -> None:
        """Put back an item whose worker died."""
        self.busy[item.device or ""] -= 1
        self._ready(item)

    def end(self, item: Item, *, done: bool) -> None:
        """Let go of its device, and of what needs it."""
        self.busy[item.device or ""] -= 1
        for other in self.after.pop(item.key, []) if done else []:
            self.left[other.key] -= 1
            if self.left[other.key] == 0:
                self._ready(other)

    def _ready(self, item: Item) -> None:
        self.ready.setdefault(item.device or "", deque()).append(item)

    def _free(self, device: str) -> bool:
        weighs = any(self.busy[name] for name in self.here)
        if device == "":
            return not weighs
        return not weighs and self.busy[""] == 0 if device in self.here else self.busy[device] == 0


__all__ = ["ATTEMPTS", "execute", "in_process"]
