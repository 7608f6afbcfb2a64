"""What a change does to the test set: examples lost and gained, labels, slices. Pure: both sides come as splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.core.documents import PolicyChange
from weighbridge.core.examples import SLICE_PREFIX
from weighbridge.core.files import sha256_bytes
from weighbridge.core.ragged import is_ragged
from weighbridge.data import Split

TEST_SET = "test set"


def split_changes(base: Split, head: Split) -> list[PolicyChange]:
    """What of the base's examples, labels and slices the head does not have any more. Their order does not matter."""
    before, after = _rows(base), _rows(head)
    found = _example_changes(before, after, head)
    kept = set(before) & set(after)
    relabelled = _relabelled(before, base.labels, after, head.labels)
    if relabelled:
        found.append(
            PolicyChange(
                kind="labels",
                budget="labels",
                base=_count(len(base)),
                head=f"{relabelled:,} relabelled",
                to=labels_digest(head),
                effect=f"{relabelled:,} of {_count(len(base))} of the test set have other labels",
            )
        )
    return found + _slice_changes(base, before, head, after, kept)


def examples_digest(split: Split) -> str:
    """SHA-256 over the inputs."""
    return Split(split.inputs, np.zeros(len(split), np.int64)).digest()


def labels_digest(split: Split) -> str:
    """SHA-256 over the labels, their type and shape."""
    labels = np.ascontiguousarray(split.labels)
    return sha256_bytes(f"{labels.dtype.str} {labels.shape} ".encode() + labels.tobytes())


def slices_digest(split: Split) -> str | None:
    """SHA-256 over the slices' names and members; None where there are none."""
    if not split.slices:
        return None
    lines = [f"{SLICE_PREFIX}{name} {sha256_bytes(split.slices[name].tobytes())}" for name in sorted(split.slices)]
    return sha256_bytes("\n".join(lines).encode())


def _example_changes(before: list[bytes], after: list[bytes], head: Split) -> list[PolicyChange]:
    removed = sum((Counter(before) - Counter(after)).values())
    gained = sum((Counter(after) - Counter(before)).values())
    if not removed and not gained:
        return []
    parts = [f"lost {removed:,} of {_count(len(before))}"] if removed else []
    parts += [f"gained {_count(gained)}"] if gained else []
    return [
        PolicyChange(
            kind="test examples removed" if removed else "test examples added",
            budget=TEST_SET,
            base=_count(len(before)),
            head=_count(len(after)),
            to=examples_digest(head),
            effect=f"the test set {' and '.join(parts)}",
        )
    ]


def _relabelled(before: list[bytes], old: NDArray[Any], after: list[bytes], new: NDArray[Any]) -> int:
    """Examples of the base that are still there, but not with their label."""
    here = Counter(zip(after, _cells(new), strict=True))
    gone = Counter(zip(before, _cells(old), strict=True)) - here
    removed = Counter(before) - Counter(after)
    missing: Counter[bytes] = Counter()
    for (row, _), count in gone.items():
        missing[row] += count
    return sum((missing - removed).values())


def _slice_changes(
    base: Split, before: list[bytes], head: Split, after: list[bytes], kept: set[bytes]
) -> list[PolicyChange]:
    """Slices that are gone, or that have other members among the examples that both sides have."""
    said = []
    if not base.slices and head.slices:
        said.append("slices of the data stand in for one slice per class")
    for name, mask in base.slices.items():
        if name not in head.slices:
            said.append(f"the slice {name} is gone")
            continue
        old = {row for row, inside in zip(before, mask, strict=True) if inside and row in kept}
        new = {row for row, inside in zip(after, head.slices[name], strict=True) if inside and row in kept}
        if old != new:
            said.append(f"the slice {name} lost {len(old - new):,} and gained {len(new - old):,} of its examples")
    if not said:
        return []
    return [
        PolicyChange(
            kind="slices",
            budget="slices",
            base=f"{len(base.slices)} slices",
            head=f"{len(head.slices)} slices",
            to=slices_digest(head) or "absent",
            effect="; ".join(said),
        )
    ]


def _rows(split: Split) -> list[bytes]:
    """One digest per example over all of its inputs, their names and types."""
    names = sorted(split.inputs)
    found = [split.inputs[name] for name in names]
    arrays = [array if is_ragged(array) else np.ascontiguousarray(array) for array in found]
    shapes = ["ragged" if is_ragged(array) else np.shape(array)[1:] for array in found]
    head = " ".join(
        f"{name} {array.dtype.str} {shape}" for name, array, shape in zip(names, arrays, shapes, strict=True)
    )
    start = hashlib.sha256(head.encode())
    rows = []
    for index in range(len(split)):
        digest = start.copy()
        for array in arrays:
            if is_ragged(array):
                digest.update(array.shapes[index].tobytes())
            digest.update(array[index].tobytes())
        rows.append(digest.digest())
    return rows


def _cells(labels: NDArray[Any]) -> list[bytes]:
    """One label per example, as bytes; integers of any width are alike."""
    array = labels.astype(np.int64) if labels.dtype.kind in "iub" else labels
    return [array[index].tobytes() for index in range(len(array))]


def _count(number: int) -> str:
    return f"{number:,} example{'' if number == 1 else 's'}"
