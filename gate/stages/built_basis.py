"""The part of a verdict's basis that the pipeline makes: test set, labels, slices, calibration data, baselines.

The merge base has these in DVC alone: its `dvc.lock` names their digests, DVC's cache may have their bytes. What cannot
be compared counts as changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge.core.documents import BasisItem, Manifest, Params, PolicyChange, baseline_folder
from weighbridge.core.dvc_files import Cache, Lock, file_md5, folder_md5, md5_of
from weighbridge.core.facts.governing_files import decides_libraries
from weighbridge.core.formatting import quantity
from weighbridge.core.git_tree import Tree
from weighbridge.core.project import LOCK
from weighbridge.data import Split, read_npz
from weighbridge.gate.stages.sides import CommittedSide
from weighbridge.gate.verdict.pipeline_changes import ABSENT, short
from weighbridge.gate.verdict.split_changes import (
    TEST_SET,
    examples_digest,
    labels_digest,
    slices_digest,
    split_changes,
)

DATA = "artifacts/data"
_NOT_CACHED = "the merge base's is not in DVC's cache, so that it could not be compared"
_WEIGHTS = ("artifacts/trained/checkpoint.safetensors", DATA)
_MAKES_BASELINE = ("prepare", "train", "baseline")


@dataclass(frozen=True)
class Built:
    """One thing, and the policy changes that it makes."""

    item: BasisItem
    changes: tuple[PolicyChange, ...] = ()


@dataclass(frozen=True)
class _Sides:
    """Where to look."""

    root: Path
    base: Lock | None
    """None where the merge base has no lock: nothing was measured there."""
    committed: Lock | None
    """The lock that the change brings, as it is committed."""
    now: Lock | None
    """The lock after the pipeline ran."""
    cache: Cache | None


def compare(root: Path, params: Params, base: CommittedSide) -> list[Built]:
    """Everything that the pipeline made, against what the merge base's lock says of it."""
    git = base.tree.git
    head = CommittedSide(Tree(git, git.head()), root.resolve().relative_to(git.root.resolve()).as_posix())
    file = root / LOCK
    sides = _Sides(
        root,
        _lock(base.read(base.project(LOCK)), f"{LOCK} at {base.tree.commit[:12]}"),
        _lock(head.read(head.project(LOCK)), f"{LOCK} at HEAD"),
        _lock(file.read_bytes() if file.is_file() else None, LOCK),
        Cache.around(root),
    )
    return [*_test_set(sides), _calibration(sides), *(_baseline(sides, target) for target in params.targets)]


def _lock(data: bytes | None, where: str) -> Lock | None:
    return None if data is None else Lock.parse(data.decode("utf-8", errors="replace"), where)


_PARTS = (TEST_SET, "labels", "slices")


def _test_set(sides: _Sides) -> list[Built]:
    """Examples, labels and slices, each of its own."""
    path = sides.root / DATA / "test.npz"
    split = read_npz(path) if path.is_file() else None
    digests = _digests(split)
    folder = md5_of(sides.base, DATA)
    before = _md5(sides, f"{DATA}/test.npz")
    if before is None and folder is None:
        return [Built(BasisItem(subject=name, digest=digests[name], state="new")) for name in _PARTS]
    same = file_md5(path) == before if before is not None and split is not None else folder == md5_of(sides.now, DATA)
    if same:
        return [Built(BasisItem(subject=name, digest=digests[name], state="same")) for name in _PARTS]
    old = None if sides.cache is None or before is None else sides.cache.file(before)
    if split is None or old is None:
        return _not_compared(sides, split, before or str(folder))
    return _compared(read_npz(old), split)


def _digests(split: Split | None) -> dict[str, str | None]:
    if split is None:
        return dict.fromkeys(_PARTS)
    return dict(zip(_PARTS, (examples_digest(split), labels_digest(split), slices_digest(split)), strict=True))


def _compared(old: Split, split: Split) -> list[Built]:
    """Each part with the changes that are its own."""
    changes = split_changes(old, split)
    before, after = _digests(old), _digests(split)
    found = []
    for name in _PARTS:
        own = tuple(change for change in changes if change.budget == name)
        same = before[name] == after[name] and not own
        effect = "; ".join(change.effect for change in own)
        item = BasisItem(
            subject=name,
            digest=after[name],
            base=before[name],
            state="same" if same else "changed",
            effect=effect or ("" if same else "follows the examples that were added, removed or put in another order"),
        )
        found.append(Built(item, own))
    return found


def _not_compared(sides: _Sides, split: Split | None, before: str) -> list[Built]:
    """The test set differs and its bytes at the merge base are not here: what is known are the sizes."""
    path = sides.root / DATA / "test.npz"
    size = _size(sides.base, f"{DATA}/test.npz")
    now = quantity(path.stat().st_size, "bytes") if path.is_file() else "absent"
    effect = f"the test set differs ({now} here, {size} before); {_NOT_CACHED}"
    change = PolicyChange(
        kind="test set",
        budget=TEST_SET,
        base=f"md5 {before[:12]}",
        head="absent" if split is None else f"{len(split):,} examples",
        to="absent" if split is None else split.digest(),
        effect=effect,
    )
    digests = _digests(split)
    items = [
        BasisItem(subject=name, digest=digests[name], base=f"md5:{before}", state="unknown", effect=effect)
        for name in _PARTS
    ]
    return [Built(items[0], (change,)), *map(Built, items[1:])]


def _calibration(sides: _Sides) -> Built:
    path = sides.root / DATA / "calibration.npz"
    digest = read_npz(path).digest() if path.is_file() else None
    folder, before = md5_of(sides.base, DATA), _md5(sides, f"{DATA}/calibration.npz")
    item = BasisItem(subject="calibration data", digest=digest, state="new" if folder is None else "same")
    same = before is not None and path.is_file() and file_md5(path) == before
    if folder is None or folder == md5_of(sides.now, DATA) or same:
        return Built(item)
    known = before is not None
    effect = "the calibration data differs" if known else f"the data may hold other calibration data; {_NOT_CACHED}"
    return _differing(item, "calibration", before or folder, effect, known=known)


def _baseline(sides: _Sides, target: str) -> Built:
    folder = baseline_folder(target)
    manifest = Manifest.read(sides.root / folder / "manifest.json")
    name = Path(manifest.artifact.path).name
    before = md5_of(sides.base, folder)
    item = BasisItem(
        subject=f"baseline {target}", digest=manifest.artifact.digest, state="new" if before is None else "same"
    )
    if before in (None, folder_md5(sides.root / folder)):
        return Built(item)
    if _md5(sides, f"{folder}/{name}") == file_md5(sides.root / folder / name):
        return Built(item)  # the manifest alone differs: another library made the same file
    libraries = _exported_again(sides, folder, str(before))
    rebuilt = bool(libraries) or _rebuilt(sides, folder, str(before))
    how = "was built again here from unchanged inputs and differs" if rebuilt else "differs"
    if libraries:
        how = f"was exported again from the same weights, because {', '.join(libraries)} differs,"
    effect = f"the baseline for {target} {how} ({quantity(manifest.artifact.bytes, 'bytes')} here)"
    return _differing(item, "baseline rebuilt" if rebuilt else "baseline", str(before), effect, known=True)


def _differing(item: BasisItem, kind: str, before: str, effect: str, *, known: bool) -> Built:
    """A thing that is another one than at the merge base, as item and as policy change."""
    change = PolicyChange(
        kind=kind, budget=item.subject, base=f"md5 {before[:12]}", head=short(item.digest), to=item.digest or ABSENT,
        effect=effect,
    )  # fmt: skip
    updated = {"base": f"md5:{before}", "state": "changed" if known else "unknown", "effect": effect}
    return Built(item.model_copy(update=updated), (change,))


def _rebuilt(sides: _Sides, folder: str, before: str) -> bool:
    """Whether the change did nothing to it: the same inputs and commands, and its committed lock names the old one."""
    if sides.base is None or sides.now is None or md5_of(sides.committed, folder) != before:
        return False
    return sides.base.inputs(_MAKES_BASELINE) == sides.now.inputs(_MAKES_BASELINE)


def _exported_again(sides: _Sides, folder: str, before: str) -> list[str]:
    """The files by which other libraries came, where these alone made another baseline of the same weights: the change
    brought no file of its own, and training, settings and code are as they were.
    """
    if sides.base is None or sides.now is None or md5_of(sides.committed, folder) != before:
        return []
    if any(md5_of(sides.base, path) != md5_of(sides.now, path) for path in _WEIGHTS):
        return []
    there, here = (_without_libraries(lock.inputs(("baseline",))) for lock in (sides.base, sides.now))
    if there[0] != here[0]:
        return []
    return [path for path, entry in here[1].items() if there[1].get(path) != entry]


def _without_libraries(inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs of stages without the files that decide which libraries run, and those files, each with its entry."""
    rest: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for name, (command, params, deps) in inputs.items():
        own = {str(item["path"]): item for item in deps if decides_libraries(PurePosixPath(str(item["path"])).name)}
        files |= own
        rest[name] = (command, params, [item for item in deps if str(item.get("path")) not in own])
    return rest, files


def _md5(sides: _Sides, path: str) -> str | None:
    """DVC's digest of a file at the merge base: from the lock, or from the listing of the folder that holds it."""
    named = md5_of(sides.base, path)
    if named is not None or sides.base is None or sides.cache is None:
        return named
    folder, _, name = path.rpartition("/")
    listed = md5_of(sides.base, folder)
    listing = None if listed is None else sides.cache.listing(listed)
    return None if listing is None else listing.get(name)


def _size(lock: Lock | None, path: str) -> str:
    entry = None if lock is None else lock.entry(path)
    size = entry.get("size") if entry else None
    return quantity(size, "bytes") if isinstance(size, int) else "of unknown size"
