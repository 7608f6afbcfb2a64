"""What the report on a change is compared with: the figures of the merge base and of what `stable` serves.

Read from what is at hand and never measured for it: the merge base's own measurements (in Git, or in DVC's cache by
its lock), else those kept beside the newest version that was made from the same recipe. They decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge.core.documents import Candidate, Measurement, Params, RecipeVerdict
from weighbridge.core.documents.base import parse
from weighbridge.core.dvc_files import Cache, Lock, md5_of
from weighbridge.core.errors import InputError, IntegrityError, StateError, WeighbridgeError
from weighbridge.core.files import parse_json
from weighbridge.core.git_tree import Tree
from weighbridge.core.project import LOCK, PARAMS
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.gate.report.reference_points import Figures, ReferencePoint, figures_of
from weighbridge.gate.stages.sides import CommittedSide
from weighbridge.registry.lifecycle.kept import read_kept
from weighbridge.registry.lookup.resolve import stable_or_none
from weighbridge.registry.state.layout import View, WorkTree, home, read_channels, read_record, version_path
from weighbridge.registry.state.records import VersionRecord

LOOKED_AT = 20
"""Versions of the registry, from the newest, in which a recipe is looked for."""


@dataclass(frozen=True)
class _Committed:
    """The registry's state at a commit."""

    side: CommittedSide

    def read(self, path: str) -> bytes | None:
        """See `View.read`."""
        return self.side.read(self.side.project(path))


def reference_points(root: Path, base: CommittedSide | None) -> list[ReferencePoint]:
    """The merge base, where there is one, and `stable`, for the project in a folder."""
    params = Params.read(root / PARAMS)
    points = [] if base is None else [_merge_base(root, base, params)]
    return [*points, _stable(home(root), params)]


def _merge_base(root: Path, base: CommittedSide, params: Params) -> ReferencePoint:
    name = f"the merge base {base.tree.commit[:12]}"
    try:
        own = _own_figures(root, base, params)
        kept, versions = _kept_figures(
            root, base, params, [item for item in params.candidates() if item.name not in own]
        )
    except WeighbridgeError as error:
        return ReferencePoint("base", f"{name}: its figures cannot be read ({error})")
    if not own and not kept:
        return ReferencePoint("base", f"{name}: no measurement of it is here")
    sources = ["by its own measurements"] if own else []
    sources += [f"by those kept with {', '.join(versions)}"] if versions else []
    return ReferencePoint("base", f"{name} ({' and '.join(sources)})", {**kept, **own})


def _own_figures(root: Path, base: CommittedSide, params: Params) -> dict[str, Figures]:
    """By candidate: what the merge base's own measurement says, from Git or from DVC's cache."""
    text, cache = base.read(base.project(LOCK)), Cache.around(root)
    lock = None if text is None else Lock.parse(text.decode("utf-8", errors="replace"), LOCK)
    found = {}
    for candidate in params.candidates():
        data = base.read(base.project(candidate.measurement)) or _cached(cache, lock, candidate.measurement)
        if data is not None:
            measurement = _measurement(data, candidate.measurement)
            found[candidate.name] = figures_of(measurement)
    return found


def _cached(cache: Cache | None, lock: Lock | None, path: str) -> bytes | None:
    """The bytes of a file in an output that a lock names; None where the cache does not have them."""
    if cache is None or lock is None:
        return None
    for folder in PurePosixPath(path).parents:
        listed = md5_of(lock, folder.as_posix())
        listing = None if listed is None else cache.listing(listed)
        md5 = None if listing is None else listing.get(PurePosixPath(path).relative_to(folder).as_posix())
        file = None if md5 is None else cache.file(md5)
        if file is not None:
            return file.read_bytes()
    return None


def _kept_figures(
    root: Path, base: CommittedSide, params: Params, missing: list[Candidate]
) -> tuple[dict[str, Figures], list[str]]:
    """By candidate: what was kept with versions that came when its recipe was what it is at the merge base; and those
    versions. A version's verdict names all recipes of its commit, its measurements are those of its own.
    """
    view = _Committed(CommittedSide(base.tree, _folder(home(root), base)))
    channels = read_channels(view, params.model.name) if missing else None
    wanted = _recipes(base)
    found: dict[str, Figures] = {}
    versions = []
    for record in () if channels is None else _records(view, params.model.name, channels):
        there = _recipes(CommittedSide(Tree(base.tree.git, record.commit), base.folder))
        left = [item for item in missing if item.name not in found and item.recipe in wanted]
        same = [item for item in left if there.get(item.recipe) == wanted[item.recipe]]
        taken = _of_record(view, record, same) if same else {}
        found |= taken
        versions += [record.version] if taken else []
    return found, versions


def _recipes(side: CommittedSide) -> dict[str, Any]:
    """The recipes of a commit's `params.yaml`; none where it has none that can be read."""
    content = parse_yaml((side.read(side.project(PARAMS)) or b"").decode("utf-8", errors="replace"), PARAMS)
    recipes = content.get("recipes") if isinstance(content, dict) else None
    return recipes if isinstance(recipes, dict) else {}


def _folder(top: Path, base: CommittedSide) -> str:
    """Where the registry lies, relative to the repository's top."""
    return top.resolve().relative_to(base.tree.git.root.resolve()).as_posix()


def _records(view: View, model: str, channels: dict[str, Any]) -> Iterator[VersionRecord]:
    """Records of compressed versions, the newest first."""
    for number in range(int(channels["versions"]), max(0, int(channels["versions"]) - LOOKED_AT), -1):
        try:
            content = read_record(view, model, f"v{number}")
        except (StateError, IntegrityError):
            continue  # a record that is gone has no figures
        yield parse(VersionRecord, content, version_path(model, f"v{number}"))


def _of_record(view: View, record: VersionRecord, candidates: list[Candidate]) -> dict[str, Figures]:
    """What is kept beside a record says of candidates; where nothing is, what the record itself does."""
    try:
        verdict, kept = read_kept(view, record)
    except (StateError, InputError):
        own = [item for item in candidates if item.recipe == record.recipe_name]
        return {item.name: figures for item in own if (figures := _recorded(record, item.target)) is not None}
    judged = {name: _judged(found) for name, found in verdict.recipes.items()}
    measured = {item.name: figures_of(kept[item.measurement]) for item in candidates if item.measurement in kept}
    return {item.name: judged[item.name] for item in candidates if item.name in judged} | measured


def _judged(verdict: RecipeVerdict) -> Figures:
    """What a verdict says: of the metrics that had a budget."""
    values = {item.metric: item.candidate for item in verdict.budgets}
    ratios = [
        item.estimate
        for item in verdict.budgets
        if item.metric == "latency.p50" and item.against == "baseline" and item.unit == "ratio"
    ]
    size = values.get("size.bytes")
    return Figures(
        verdict.candidate.digest,
        None if size is None else int(size),
        next(iter(ratios), None),
        values.get("accuracy.top1"),
        verdict.baseline.digest,
    )


def _recorded(record: VersionRecord, target: str) -> Figures | None:
    """What a record says of its artifact for a target: its metrics are those of the first."""
    artifact = next((item for item in record.artifacts if item.target == target), None)
    if artifact is None:
        return None
    first = artifact is record.artifacts[0]
    latency, accuracy = (record.metrics.get(name) if first else None for name in ("latency.p50", "accuracy.top1"))
    return Figures(
        artifact.digest,
        artifact.bytes,
        latency.value / latency.baseline if latency is not None and latency.baseline else None,
        accuracy.value if accuracy is not None else None,
        record.baseline.digest if record.baseline is not None else None,
    )


def _stable(top: Path, params: Params) -> ReferencePoint:
    """What `stable` serves, for each candidate by its target."""
    try:
        served = stable_or_none(top, params.model.name)
        if served is None:
            return ReferencePoint("stable", "stable: nothing is served yet")
        view = WorkTree(top)
        where = version_path(params.model.name, served.version)
        record = parse(VersionRecord, read_record(view, params.model.name, served.version), where)
        figures = _stable_figures(view, record, params)
    except WeighbridgeError as error:
        return ReferencePoint("stable", f"stable: its figures cannot be read ({error})")
    named = f"stable {served.version} ({record.recipe_name})"
    return ReferencePoint("stable", named if figures else f"{named}: not measured for these targets", figures)


def _stable_figures(view: View, record: VersionRecord, params: Params) -> dict[str, Figures]:
    """By the candidates here: the figures of the version's artifact for the same target and device."""
    try:
        kept = read_kept(view, record)[1]
    except (StateError, InputError):
        kept = {}
    found = {}
    for item in params.candidates():
        beside = (
            measured
            for measured in kept.values()
            if measured.target == item.target
            and measured.device.name == item.device
            and measured.recipe in (None, record.recipe_name)
        )
        measured = next(beside, None)
        figures = figures_of(measured) if measured is not None else _recorded(record, item.target)
        if figures is not None:
            found[item.name] = figures
    return found


def _measurement(data: bytes, where: str) -> Measurement:
    return parse(Measurement, parse_json(data.decode("utf-8", errors="replace"), where), where)
