"""Promotions that are killed with signal 9, and promotions on a disk that is full: before or after, never between."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.registry_scale.long_histories import many_recipes
from benchmarks.registry_scale.processor_times import COMMAND, Row, row, timed
from tests.registry import project as made
from weighbridge.core.errors import StateError
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolve import stable_or_none
from weighbridge.registry.state.layout import MODELS
from weighbridge.registry.state.store import Store
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.verify import verify_models


def kills(work: Path, count: int) -> list[Row]:
    """Promotions killed at random; after each, the state is the one before or the one after."""
    root = work / "project"
    names = many_recipes(root, count + 1)
    usual = timed([*COMMAND, "promote", names[0], "--no-push"], root)
    effects = count_effects(root, names[1])
    generator = random.Random(1)
    found = {"before": 0, "after": 0, "between": 0, "finished": 0}
    for position, name in enumerate(names[2:]):
        before = len(events(root))
        seen_before = stable_or_none(root, made.MODEL)
        if position % 2:
            code = run_and_kill([*COMMAND, "promote", name, "--no-push"], root, generator.uniform(0.3, 1.6) * usual)
        else:
            # Between any two effects on files and processes: this covers what a clock on a busy machine misses.
            code = die(root, name, generator.randint(1, effects))
        found["finished"] += code == 0
        found[state_after(root, before, seen_before)] += 1
    sound = found["between"] == 0
    return [row(f"kill -9: between, of {count - 1} promotions", found["between"], "promotions", "0", met=sound)] + [
        row(f"kill -9: {name}", found[name], "promotions") for name in ("before", "after", "finished")
    ]


def count_effects(root: Path, name: str) -> int:
    """How many processes, links and renames a promotion starts or makes: one that is let through counts them."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_count, (root, name))


def _count(root: Path, name: str) -> int:
    calls = 0

    def seen() -> None:
        nonlocal calls
        calls += 1

    _promote_watched(root, name, seen)
    return calls


def die(root: Path, name: str, deadly: int) -> int:
    """A process that promotes and dies by signal 9 before its n-th effect; its exit code."""
    calls = 0

    def seen() -> None:
        nonlocal calls
        calls += 1
        if calls == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=_promote_watched, args=(root, name, seen))
    process.start()
    process.join()
    return int(process.exitcode or 0)


def _promote_watched(root: Path, name: str, seen: Callable[[], None]) -> None:
    """Promote, and call `seen` before each effect. For a process of its own: it changes the standard library."""

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            seen()
            return function(*arguments, **more)

        return call

    subprocess.run, os.link = watched(subprocess.run), watched(os.link)
    Path.replace = watched(Path.replace)  # type: ignore[method-assign]
    promote(root, PromotionRequest(name), settings=Settings(push=False))


def run_and_kill(command: Sequence[str], where: Path, after: float) -> int:
    """Run a command and kill it after some seconds; its exit code."""
    process = subprocess.Popen(command, cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait()


def state_after(root: Path, before: int, seen_before: object) -> str:
    """`before`, `after` or `between`: what a reader saw at once, and what a command found and repaired."""
    seen = stable_or_none(root, made.MODEL)
    Store(root).repair()
    repaired = stable_or_none(root, made.MODEL)
    count = len(events(root))
    (checked,) = verify_models(root)
    clean = Git(root).dirty() == []
    if not clean or checked.events != count or seen not in (seen_before, repaired) or count not in (before, before + 1):
        return "between"
    return "after" if count > before else "before"


def events(root: Path) -> list[Path]:
    """Event files of the model."""
    return sorted((root / MODELS / made.MODEL / "events").glob("*.yaml"))


@contextmanager
def small_disk(where: str) -> Iterator[Path]:
    """A folder on a small file system: the one that was named, or a tmpfs that is mounted for the while."""
    if where != "mount":
        yield Path(where)
        return
    with tempfile.TemporaryDirectory(prefix="registry-disk-") as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], check=False)
        if done.returncode != 0:
            raise SystemExit("a small file system cannot be mounted here: name one with --full-disk, or none")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


LARGEST_LEFT = 160_000
"""Bytes: enough for a promotion."""


def full_disk(mount: Path, count: int) -> list[Row]:
    """Promote with less and less space; each must end before or after, and succeed again with space."""
    root = mount / "project"
    names = many_recipes(root, count)
    promote(root, PromotionRequest(names[0]), settings=Settings(push=False))
    found = {"before": 0, "after": 0, "between": 0}
    refused = 0
    for position, name in enumerate(names[1:]):
        before, seen = len(events(root)), stable_or_none(root, made.MODEL)
        with filled(mount, leave=position * LARGEST_LEFT // count):
            try:
                promote(root, PromotionRequest(name), settings=Settings(push=False))
            except (StateError, OSError):
                refused += 1
        found[state_after(root, before, seen)] += 1
    return [
        row(
            f"full disk: between, of {count - 1} promotions",
            found["between"],
            "promotions",
            "0",
            met=not found["between"],
        ),
        row("full disk: refused for want of space", refused, "promotions"),
        row("full disk: before", found["before"], "promotions"),
        row("full disk: after", found["after"], "promotions"),
    ]


class filled:  # noqa: N801  # used as a verb in `with`
    """A file system with `leave` bytes of space, rounded to its blocks."""

    def __init__(self, mount: Path, leave: int) -> None:
        self.ballast, self.leave = mount / "ballast", leave

    def __enter__(self) -> None:
        space = os.statvfs(self.ballast.parent)
        with self.ballast.open("wb") as file:
            file.write(b"0" * max(0, space.f_bavail * space.f_frsize - self.leave))

    def __exit__(self, *_: object) -> None:
        self.ballast.unlink()
