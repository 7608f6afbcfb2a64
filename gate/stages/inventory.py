"""Everything that judging rests on, read from a project and cross-checked: params, artifacts, measurements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.documents import STABLE, Candidate, Manifest, Measurement, Params, Stable, baseline_folder, load
from weighbridge.core.files import sha256_file

PARAMS = "params.yaml"


@dataclass(frozen=True)
class WeighedCandidate:
    """One candidate with what speaks of it."""

    candidate: Candidate
    manifest: Manifest
    measurement: Measurement
    problems: tuple[str, ...]
    """What is wrong between its documents and files."""


@dataclass(frozen=True)
class Inventory:
    """What a judgement is a function of."""

    params: Params
    weighed: tuple[WeighedCandidate, ...]


def take_inventory(root: Path) -> Inventory:
    """Read it all. A document that is missing or malformed is an `InputError`; digests that disagree are `problems`."""
    params = Params.read(root / PARAMS)
    stable = _stable_digests(root)
    weighed = []
    for candidate in params.candidates():
        baseline, problems = _artifact(root / baseline_folder(candidate.target))
        manifest, more = _artifact(root / candidate.folder)
        measurement = Measurement.read(root / candidate.measurement)
        disagree = _disagreements(candidate, manifest, baseline, measurement, stable.get(candidate.target))
        weighed.append(WeighedCandidate(candidate, manifest, measurement, (*problems, *more, *disagree)))
    return Inventory(params, tuple(weighed))


def _artifact(folder: Path) -> tuple[Manifest, list[str]]:
    """A manifest, and whether the file beside it is still the one that it speaks of."""
    manifest = Manifest.read(folder / "manifest.json")
    name = Path(manifest.artifact.path).name
    if sha256_file(folder / name) != manifest.artifact.digest:
        return manifest, [f"{folder.parent.name}/{folder.name}/{name} is not the file that its manifest speaks of"]
    return manifest, []


def _stable_digests(root: Path) -> dict[str, str]:
    """By target."""
    path = root / "artifacts" / "stable" / STABLE
    if not path.is_file():
        return {}
    return {target: file.digest for target, file in load(Stable, path).artifacts.items()}


def _disagreements(
    candidate: Candidate, manifest: Manifest, baseline: Manifest, measurement: Measurement, stable: str | None
) -> list[str]:
    """Every document must speak of the same bytes, for the same target, on the device that was named."""
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
    if measurement.candidate.digest != manifest.artifact.digest:
        problems.append("the measurement is of another file than the artifact")
    if measurement.baseline.digest != baseline.artifact.digest:
        problems.append("the measurement was taken against another baseline")
    against = {comparison.against: comparison for comparison in measurement.comparisons}
    if stable is not None and "stable" in against and against["stable"].reference.digest != stable:
        problems.append("what is stable has changed since the measurement")
    return problems
