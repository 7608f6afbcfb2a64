"""Whole processes of `weighbridge registry` at several sizes, beside GTO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.registry_scale.long_histories import PROMOTED, build, build_gto
from benchmarks.registry_scale.processor_times import COMMAND, Row, Seconds, median, quotient, row, timed
from tests.registry import project as made
from weighbridge.registry.state.layout import MODELS


class Gto(NamedTuple):
    """GTO's program (empty: it is left out), and the number of versions beyond which it takes minutes."""

    program: str
    limit: int

    def takes(self, size: int) -> bool:
        """Whether it is run at that size."""
        return bool(self.program) and size <= self.limit


def commands(work: Path, sizes: Sequence[int], repeats: int, gto: Gto) -> list[Row]:
    """Time whole processes on registries of these sizes over 20 models."""
    roots = {size: prepare(work / str(size), size) for size in sizes}
    resolves: dict[int, list[Seconds]] = {size: [] for size in sizes}
    lists: dict[int, list[Seconds]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size, root in roots.items():
            resolves[size].append(timed([*COMMAND, "resolve", f"{made.MODEL}@stable"], root))
            lists[size].append(timed([*COMMAND, "list"], root))
    rows: list[Row] = []
    for size, root in roots.items():
        resolve = median(resolves[size])
        rows += [
            row(f"resolve, {size} versions", resolve, "s", "<= 0.3", met=resolve <= 0.3),
            row(f"list, {size} versions", median(lists[size]), "s"),
            *changing(root, size),
            *(beside(work / f"gto-{size}", size, gto.program, resolve) if gto.takes(size) else []),
        ]
    if len(sizes) > 1:
        small, large = min(sizes), max(sizes)
        growth = quotient(median(resolves[large]), median(resolves[small]))
        rows.append(row(f"resolve at {large} over {small} versions", growth, "times", "<= 1.3", met=growth <= 1.3))
    return rows


def prepare(work: Path, size: int) -> Path:
    """A registry with a remote on the same disk."""
    root, bare = work / "project", work / "remote.git"
    build(root, size)
    made.git(work, "clone", "-q", "--bare", str(root), str(bare))
    made.git(root, "remote", "add", "origin", str(bare))
    made.git(root, "fetch", "-q", "origin")
    return root


def changing(root: Path, size: int) -> list[Row]:
    """Verify everything, then promote."""
    events = sum(1 for _ in (root / MODELS).glob("*/events/*"))
    checked = timed([*COMMAND, "verify"], root)
    promoted = median([timed([*COMMAND, "promote", recipe], root) for recipe in PROMOTED])
    met = checked <= 10 if size >= 10_000 else None
    return [
        row(f"verify, {events} events", checked, "s", "<= 10" if met is not None else "", met=met),
        row(f"promote, {size} versions", promoted, "s", "<= 2", met=promoted <= 2),
    ]


def beside(root: Path, size: int, gto: str, resolve: Seconds) -> list[Row]:
    """GTO's time for the same, and how many times ours that is."""
    build_gto(root, size)
    other = median([timed([gto, "show", f"{made.MODEL}#prod"], root) for _ in range(2)])
    faster = quotient(other, resolve)
    met = faster >= 50 if size >= 2000 else None
    return [
        row(f"GTO show model#stage, {size} versions", other, "s"),
        row(f"GTO show, {size} versions", timed([gto, "show"], root), "s"),
        row(f"GTO register, {size} versions", timed([gto, "register", "another"], root), "s"),
        row(
            f"GTO's time to resolve over ours, {size} versions",
            faster,
            "times",
            ">= 50" if met is not None else "",
            met=met,
        ),
    ]
