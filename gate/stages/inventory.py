"""Everything that judging rests on, read from a project and cross-checked: params, artifacts, measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weighbridge.core.documents import (
    REFUSAL,
    STABLE,
    Candidate,
    Device,
    Manifest,
    Measurement,
    Params,
    Refused,
    Stable,
    baseline_folder,
    built_folder,
    find_refusal,
    load,
)
from weighbridge.core.documents.manifest import recipe_core
from weighbridge.core.documents.origin import another_origin, measured_otherwise, stale_inputs, uncompared
from weighbridge.core.errors import InputError
from weighbridge.core.facts.isa import Host
from weighbridge.core.files import read_json, sha256_file
from weighbridge.core.opening import refuse_link
from weighbridge.core.project import DATA, PARAMS, PIPELINE


@dataclass(frozen=True)
class WeighedCandidate:
    """One candidate with what is about it."""

    candidate: Candidate
    manifest: Manifest
    measurement: Measurement
    problems: tuple[str, ...]
    """What is wrong between its documents and files."""
    notes: tuple[str, ...] = ()
    """What could not be compared."""


@dataclass(frozen=True)
class Inventory:
    """What a judgement is a function of."""

    params: Params
    weighed: tuple[WeighedCandidate, ...]
    refused: Mapping[str, Refused] = field(default_factory=dict)
    """By recipe where it was not built, by candidate where it could not be weighed."""


def take_inventory(root: Path) -> Inventory:
    """Read it all. A document that is missing or malformed is an `InputError`; digests that disagree are `problems`."""
    for name in (PARAMS, PIPELINE):
        refuse_link(root / name)
    params = Params.read(root / PARAMS)
    stable = _stable_digests(root)
    data = _data(root)
    weighed: list[WeighedCandidate] = []
    refused: dict[str, Refused] = {}
    for candidate in params.candidates():
        if (found := _refused(root, params, candidate)) is not None:
            refused[found[0]] = found[1]
            continue
        baseline, problems = _artifact(root / baseline_folder(candidate.target))
        manifest, more = _artifact(root / candidate.folder)
        measurement = Measurement.read(root / candidate.measurement)
        disagree = [
            *_disagreements(candidate, manifest, baseline, measurement, stable.get(candidate.target)),
            *_another_origin(root, params, candidate, (manifest, baseline)),
            *measured_otherwise(root, measurement),
            *_other_data(data, manifest, baseline, measurement),
        ]
        told = (
            uncompared(baseline, f"baseline for {candidate.target}"),
            uncompared(manifest, f"artifact {candidate.name}"),
        )
        notes = tuple(note for note in told if note is not None)
        weighed.append(WeighedCandidate(candidate, manifest, measurement, (*problems, *more, *disagree), notes))
    return Inventory(params, tuple(weighed), refused)


def _refused(root: Path, params: Params, candidate: Candidate) -> tuple[str, Refused] | None:
    """What stands in the place of a candidate's artifact or measurement, under the name that the verdict has for it."""
    advisory = params.recipes[candidate.recipe].advisory
    built = f"{built_folder(candidate.recipe)}/{REFUSAL}"
    # The artifact's refusal first: the one beside the measurements follows from it.
    for name, place in ((candidate.recipe, built), (candidate.name, candidate.refusal)):
        if (found := find_refusal(root / place)) is not None:
            return name, Refused(recipe=candidate.recipe, stage=found.stage, reason=found.reason, advisory=advisory)
    return None


def _artifact(folder: Path) -> tuple[Manifest, list[str]]:
    """A manifest, and whether the file beside it is still the one that it is about."""
    manifest = Manifest.read(folder / "manifest.json")
    name = manifest.artifact.differing(folder)
    if name is not None:
        return manifest, [f"{folder.parent.name}/{folder.name}/{name} is not the file that its manifest is about"]
    return manifest, []


def _stable_digests(root: Path) -> dict[str, str]:
    """By target."""
    path = root / "artifacts" / "stable" / STABLE
    if not path.is_file():
        return {}
    return {target: file.digest for target, file in load(Stable, path).artifacts.items()}


def _host(device: Device) -> Host:
    """A device's processor: the last word of its system is the machine."""
    return Host((device.system.split() or [""])[-1], frozenset(device.isa))


def _disagreements(
    candidate: Candidate, manifest: Manifest, baseline: Manifest, measurement: Measurement, stable: str | None
) -> list[str]:
    """Every document must be about the same bytes, for the same target, on the device that was named."""
    problems = []
    if manifest.recipe_name != candidate.recipe:
        problems.append(f"the manifest is of the recipe {manifest.recipe_name!r}")
    if manifest.target != candidate.target:
        problems.append(f"the manifest is of an artifact for {manifest.target}")
    if measurement.recipe not in (None, candidate.recipe):
        problems.append(f"the measurement is of the recipe {measurement.recipe!r}")
    if measurement.target != candidate.target:
        problems.append(f"the measurement was taken on {measurement.target}")
    if measurement.device.name != candidate.device:
        problems.append(f"the measurement was taken on the device {measurement.device.name!r}")
    if lacking := _host(measurement.device).lacks(manifest.requires):
        problems.append(
            f"the artifact requires {', '.join(lacking)}, which the device {measurement.device.name!r} lacks: "
            "it would answer otherwise there"
        )
    if measurement.candidate.digest != manifest.artifact.digest:
        problems.append("the measurement is of another file than the artifact")
    if measurement.baseline.digest != baseline.artifact.digest:
        problems.append("the measurement was taken against another baseline")
    against = {comparison.against: comparison for comparison in measurement.comparisons}
    if stable is not None and "stable" in against and against["stable"].reference.digest != stable:
        problems.append("what is stable has changed since the measurement")
    return problems


def _another_origin(root: Path, params: Params, candidate: Candidate, made: tuple[Manifest, Manifest]) -> list[str]:
    """The bytes must come from what the checkout has now: a lock file resolved by hand may pair it with others."""
    manifest, baseline = made
    section = params.recipes[candidate.recipe]
    problems = []
    if recipe_core(manifest.recipe) != recipe_core({"target": section.target, "steps": section.steps}):
        problems.append(f"the artifact was made by another recipe than the one {PARAMS} has now")
    if manifest.baseline != baseline.artifact.digest:
        problems.append("the artifact was compressed from another baseline")
    problems += another_origin(root, params, manifest, "artifact")
    problems += another_origin(root, params, baseline, "baseline")
    return problems + stale_inputs(root, (built_folder(candidate.recipe), baseline_folder(candidate.target)))


@dataclass(frozen=True)
class _Data:
    """The prepared data as it lies in the project."""

    index: str
    """Digest of `data.json`, which names all splits by their digests."""
    test: str | None
    """Digest of the test split."""


def _data(root: Path) -> _Data | None:
    """None where the data is not in this checkout, as where DVC brought only what a stage needed."""
    path = root / DATA
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        return _Data(sha256_file(path), content["splits"]["test"]["digest"])
    except (KeyError, TypeError) as error:
        raise InputError("names no test split", where=str(path), fix="run `dvc repro prepare`") from error


def _other_data(data: _Data | None, manifest: Manifest, baseline: Manifest, measurement: Measurement) -> list[str]:
    """Artifact, baseline and measurement must rest on one data set: the one that lies here."""
    problems = []
    if manifest.data != baseline.data:
        problems.append("the artifact was made with other data than the baseline")
    if data is not None and manifest.data != data.index:
        problems.append(f"the artifact was made with other data than {DATA} names")
    if data is not None and measurement.data != data.test:
        problems.append("the measurement was taken on another test set")
    return problems
