"""Searches whose coordinator is killed without warning, and plans whose workers are killed too: again and again, no
trial and no item may be lost, doubled or changed.

Everything that is killed is forked from this process, which has the libraries already: fifty searches take minutes.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.search.project import project
from weighbridge.compress import stages
from weighbridge.core.files import sha256_file
from weighbridge.search.carrying_out import execute
from weighbridge.search.done_items import Stamps
from weighbridge.search.plan import Item
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.project_plan import planned
from weighbridge.search.run import Found, search

FORK = multiprocessing.get_context("fork")
TRIALS = 5
SPACE = {"techniques": ["share", "quantize"], "bits": [2, 4], "schemes": ["weight-int8", "weight-int4"], "epochs": 1}
RECIPES = {f"r{bits}": {"steps": [{"share": {"bits": bits}}]} for bits in range(2, 5)}
LOG = "log"


def killed_searches(seeds: Sequence[int], kills: int = 2) -> dict[str, Any]:
    """A search of each seed, killed `kills` times at a random moment and then run to the end, beside the same search
    undisturbed; and as many plans of three recipes whose workers and coordinator are killed, beside one undisturbed.
    """
    found = {"searches": len(seeds), "kills": 0, "trials": 0, "searches_as_undisturbed": 0}
    found |= {"plans": len(seeds), "workers_killed": 0, "coordinators_killed": 0, "plans_as_undisturbed": 0}
    with tempfile.TemporaryDirectory() as folder:
        start = project(
            Path(folder) / "start", data={"factory": "tests.search.project:many"}, search=SPACE, recipes=RECIPES
        )
        for body in (stages.prepare, stages.train, stages.baseline):
            body(start)
        makes = [item for item in planned(start) if item.kind == "make"]
        whole = _copy(start, "whole")
        list(execute(makes, _worker(whole), Stamps(whole)))
        expected = _digests(whole, makes)
        for seed in seeds:
            rng = random.Random(seed)  # moments to kill at
            roots = [_copy(start, f"{seed}-{name}") for name in ("cut", "whole", "plan")]
            undisturbed, took = _timed(lambda root=roots[1], seed=seed: _searched(root, seed))
            for _ in range(kills):
                found["kills"] += _killed(lambda: _searched(roots[0], seed), rng.uniform(0.0, 0.8 * took))  # noqa: B023
            resumed = _searched(roots[0], seed)
            found["trials"] += len(undisturbed.tried) + len(undisturbed.failed)
            found["searches_as_undisturbed"] += (resumed.tried, resumed.failed) == (
                undisturbed.tried,
                undisturbed.failed,
            )
            _killed_plan(roots[2], makes, rng, found)
            found["plans_as_undisturbed"] += _digests(roots[2], makes) == expected and _once(roots[2], makes)
            for root in roots:
                shutil.rmtree(root)
    return found


def _copy(start: Path, name: str) -> Path:
    return Path(shutil.copytree(start, start.parent / name))


def _timed(work: Callable[[], Found]) -> tuple[Found, float]:
    begin = time.perf_counter()
    return work(), time.perf_counter() - begin


def _searched(root: Path, seed: int) -> Found:
    return search(SearchRequest(root=root, trials=TRIALS, timed=False, seed=seed))


def _killed(work: Callable[[], object], after: float) -> bool:
    """Fork a process that works, kill it after so many seconds; whether it was still running."""
    process = FORK.Process(target=work)
    process.start()
    process.join(after)
    running = process.is_alive()
    process.kill()
    process.join()
    return running


def _killed_plan(root: Path, makes: list[Item], rng: random.Random, found: dict[str, Any]) -> None:
    """Make all; two workers are killed, then the coordinator with one under way; then run to the end."""

    def coordinate() -> None:
        list(execute(makes, _worker(root), Stamps(root), workers=2))

    found["coordinators_killed"] += _killed(coordinate, rng.uniform(0.0, 0.5))
    with _killing(root, rng) as killed:
        ended = list(execute(makes, _worker(root), Stamps(root), workers=2))
    found["workers_killed"] += len(killed)
    assert len(ended) == len({item.key for item, _ in ended})


def _worker(root: Path) -> Callable[[Item], int]:
    """What makes an item in a process of its own, as `stage item` does, and writes down what it did."""

    def make(item: Item) -> int:
        def noted() -> int:
            _say(root, "made", item)
            stages.compress(root, item.name)
            return 0

        code = Stamps(root).do(item, noted)
        _say(root, "ended", item)
        return code

    def run(item: Item) -> int:
        process = FORK.Process(target=lambda: os._exit(make(item)))
        process.start()
        (root / f"{process.pid}.pid").touch()
        process.join()
        (root / f"{process.pid}.pid").unlink()
        return int(process.exitcode or 0)

    return run


def _say(root: Path, what: str, item: Item) -> None:
    """One line, whole whatever dies."""
    handle = os.open(root / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{what} {item.key}\n".encode())
    os.close(handle)


@contextmanager
def _killing(root: Path, rng: random.Random, most: int = 2) -> Iterator[list[int]]:
    """Kill two workers at random moments meanwhile: no item dies more often than it is begun again."""
    over, killed = threading.Event(), []

    def kill() -> None:
        while not over.wait(rng.uniform(0.0, 0.3)) and len(killed) < most:
            for path in root.glob("*.pid"):
                pid = int(path.stem)
                if any(process.pid == pid and process.is_alive() for process in FORK.active_children()):
                    with suppress(ProcessLookupError):  # it ended this moment
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                        break

    for path in root.glob("*.pid"):  # of a coordinator that died
        path.unlink()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


def _digests(root: Path, makes: list[Item]) -> dict[str, str]:
    """Each made file's digest; nothing of an item that is not done."""
    stamps = Stamps(root)
    return {
        path.relative_to(root).as_posix(): sha256_file(path)
        for item in makes
        if stamps.done(item)
        for path in item.files(root)
    }


def _once(root: Path, makes: list[Item]) -> bool:
    """Whether nothing was made again after it had ended."""
    lines = [line.split() for line in (root / LOG).read_text().splitlines()]
    for item in makes:
        words = [what for what, key in lines if key == item.key]
        if "ended" not in words or "made" in words[words.index("ended") :]:
            return False
    return True
