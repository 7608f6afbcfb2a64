"""What promotion rests on, read and cross-checked: params, manifest, artifact, measurement, verdict, lock file.

Every check refuses; nothing missing ever passes. The artifact's digest is taken from the file's bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from weighbridge.core.documents import (
    Candidate,
    GateVerdict,
    Manifest,
    Measurement,
    Params,
    RecipeVerdict,
    baseline_folder,
    built_folder,
)
from weighbridge.core.documents.base import parse
from weighbridge.core.documents.manifest import WeightsFile, recipe_core
from weighbridge.core.documents.origin import another_origin, measured_otherwise, stale_inputs
from weighbridge.core.dvc_files import Lock, file_md5, folder_md5
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import parse_json, read_bytes, read_yaml, sha256_bytes, sha256_file
from weighbridge.core.formats.compressed import compressed_size, level, read_chunks, taken
from weighbridge.core.project import LOCK, PARAMS
from weighbridge.registry.lifecycle.selection import RERUN, VERDICT, read_verdict, require_pass
from weighbridge.registry.state.records import StoredWeights


@dataclass(frozen=True)
class LockedArtifact:
    """An artifact with its manifest, verified from the files' bytes."""

    manifest: Manifest
    manifest_digest: str
    path: str
    """Of the artifact, relative to the project's root."""
    md5: str
    """DVC's name of the artifact's bytes."""
    gzip: int | None
    """Bytes after gzip, at the level for so many; None of a large file."""
    weights: StoredWeights | None = None
    """Of an artifact in two files; its path is relative to the project's root."""


@dataclass(frozen=True)
class JudgedArtifact:
    """One artifact on one device, weighed and passed; all of it is about the same bytes."""

    candidate: Candidate
    built: LockedArtifact
    baseline: LockedArtifact
    measurement: Measurement
    verdict: RecipeVerdict


@dataclass(frozen=True)
class Evidence:
    """Everything that a promotion of one recipe rests on."""

    recipe: str
    params: Params
    params_digest: str
    lock_digest: str
    judged: tuple[JudgedArtifact, ...]
    """For each target and device; the first is what the version's record leads with."""
    gate: GateVerdict
    gate_digest: str

    @property
    def candidate(self) -> LockedArtifact:
        """The artifact for the first target."""
        return self.judged[0].built

    @property
    def baseline(self) -> LockedArtifact:
        """The uncompressed artifact for the first target."""
        return self.judged[0].baseline

    @property
    def measurement(self) -> Measurement:
        """Of the first target's artifact on the first device."""
        return self.judged[0].measurement

    @property
    def verdict(self) -> RecipeVerdict:
        """On the first target's artifact on the first device."""
        return self.judged[0].verdict

    @property
    def candidates(self) -> tuple[LockedArtifact, ...]:
        """The recipe's artifacts, one for each target."""
        return tuple({item.candidate.target: item.built for item in self.judged}.values())

    @property
    def baselines(self) -> tuple[LockedArtifact, ...]:
        """The uncompressed artifacts, one for each target."""
        return tuple({item.candidate.target: item.baseline for item in self.judged}.values())

    @property
    def stable_references(self) -> set[str]:
        """Digests of the stable artifacts that candidates were compared with."""
        return {
            comparison.reference.digest
            for item in self.judged
            for comparison in item.measurement.comparisons
            if comparison.against == "stable"
        }


def gather(root: Path, recipe: str) -> Evidence:
    """Read and check everything about one recipe; the first disagreement is an error that names the file."""
    params = Params.read(root / PARAMS)
    if recipe not in params.recipes:
        raise InputError(
            f"unknown recipe {recipe!r}", where="params.yaml: recipes", fix=f"recipes: {', '.join(params.recipes)}"
        )
    gate, gate_digest = read_verdict(root)
    lock, lock_digest = _read_lock(root)
    require_pass(gate, recipe, params)
    evidence = Evidence(
        recipe=recipe,
        params=params,
        params_digest=sha256_bytes(read_bytes(root / PARAMS)),
        lock_digest=lock_digest,
        judged=tuple(_judged_candidate(root, item, gate) for item in params.candidates(recipe)),
        gate=gate,
        gate_digest=gate_digest,
    )
    _locked_folders(root, recipe, params, lock)
    _locked_file(root, VERDICT, lock)
    section = _section(root, recipe)
    for judged in evidence.judged:
        _agree(judged, evidence, section)
        _same_origin(root, params, judged)
    return evidence


def _judged_candidate(root: Path, candidate: Candidate, gate: GateVerdict) -> JudgedArtifact:
    return JudgedArtifact(
        candidate=candidate,
        built=_read_built(root, candidate.folder),
        baseline=_read_built(root, baseline_folder(candidate.target)),
        measurement=_read_measurement(root, candidate.measurement),
        verdict=gate.recipes[candidate.name],
    )


def _locked_folders(root: Path, recipe: str, params: Params, lock: dict[str, str]) -> None:
    """Artifacts, baselines and measurements are what the pipeline made."""
    _locked_folder(root, f"artifacts/recipes/{recipe}", lock)
    for target in params.recipes[recipe].targets:
        _locked_folder(root, baseline_folder(target), lock)
    _locked_folder(root, f"measurements/{recipe}", lock)


def _read_built(root: Path, folder: str) -> LockedArtifact:
    where = f"{folder}/manifest.json"
    data = read_bytes(root / where)
    manifest = parse(Manifest, parse_json(data.decode("utf-8", errors="replace"), where), where)
    name = manifest.artifact.path
    if "/" in name or name in ("", ".", "..") or (root / folder / name).is_symlink():
        raise IntegrityError(f"refers to an artifact outside its folder: {name!r}", where=where)
    path = root / folder / name
    found = sha256_file(path)
    size = path.stat().st_size
    if found != manifest.artifact.digest or size != manifest.artifact.bytes:
        raise IntegrityError(
            f"has the digest {found[:19]}…, its manifest says {manifest.artifact.digest[:19]}…",
            where=f"{folder}/{name}",
            fix=RERUN,
        )
    weights = _read_weights(root, folder, manifest.artifact.weights)
    return LockedArtifact(
        manifest=manifest,
        manifest_digest=sha256_bytes(data),
        path=f"{folder}/{name}",
        md5=file_md5(path),
        gzip=_gzip(path, weights),
        weights=weights,
    )


def _gzip(path: Path, weights: StoredWeights | None) -> int | None:
    files = [path] if weights is None else [path, path.with_name(PurePosixPath(weights.path).name)]
    size = sum(file.stat().st_size for file in files)
    if "gzip" not in taken(size, ()):
        return None
    return compressed_size(read_chunks(files), "gzip", level("gzip", size), size)  # by itself: zstd takes an extra


def _read_weights(root: Path, folder: str, weights: WeightsFile | None) -> StoredWeights | None:
    if weights is None:
        return None
    where = f"{folder}/{weights.path}"
    if "/" in weights.path or weights.path in ("", ".", "..") or (root / where).is_symlink():
        raise IntegrityError(f"refers to weights outside its folder: {weights.path!r}", where=f"{folder}/manifest.json")
    if sha256_file(root / where) != weights.digest:
        raise IntegrityError("has another digest than its manifest says", where=where, fix=RERUN)
    return StoredWeights(path=where, digest=weights.digest, bytes=weights.bytes, md5=file_md5(root / where))


def _read_measurement(root: Path, where: str) -> Measurement:
    measurement = parse(
        Measurement, parse_json(read_bytes(root / where).decode("utf-8", errors="replace"), where), where
    )
    if measurement.faults:
        raise StateError(f"records a fault: {measurement.faults[0]}", where=where)
    return measurement


def _section(root: Path, recipe: str) -> dict[str, Any]:
    """The recipe as `params.yaml` writes it."""
    section = read_yaml(root / PARAMS)["recipes"][recipe]
    assert isinstance(section, dict)
    return section


def _agree(judged: JudgedArtifact, evidence: Evidence, section: dict[str, Any]) -> None:
    """All documents must be about one model, one pair of bytes, one recipe, one target, one device."""
    manifest, measurement, verdict = judged.built.manifest, judged.measurement, judged.verdict
    candidate, baseline = manifest.artifact.digest, judged.baseline.manifest.artifact.digest
    measured = judged.candidate.measurement
    made = f"{judged.candidate.folder}/manifest.json"
    target, device, model = judged.candidate.target, judged.candidate.device, evidence.params.model.name
    facts = [
        (measured, "the candidate's digest", measurement.candidate.digest, candidate),
        (measured, "the baseline's digest", measurement.baseline.digest, baseline),
        (VERDICT, "the candidate's digest", verdict.candidate.digest, candidate),
        (VERDICT, "the baseline's digest", verdict.baseline.digest, baseline),
        (VERDICT, "the measurement's digest", verdict.measurement, measurement.content_digest()),
        (VERDICT, "the device", verdict.device_fingerprint, measurement.device.fingerprint),
        (VERDICT, "the model", evidence.gate.model, model),
        (made, "the baseline's digest", manifest.baseline, baseline),
        (made, "the model", manifest.model, model),
        (made, "the recipe's name", manifest.recipe_name, evidence.recipe),
        (made, "the target", manifest.target, target),
        (measured, "the target", measurement.target, target),
        (measured, "the device", measurement.device.name, device),
        (f"{baseline_folder(target)}/manifest.json", "the model", judged.baseline.manifest.model, model),
        (f"{baseline_folder(target)}/manifest.json", "the target", judged.baseline.manifest.target, target),
        (measured, "the recipe's name", measurement.recipe or evidence.recipe, evidence.recipe),
        (measured, "the model", measurement.model or model, model),
    ]
    for where, what, found, expected in facts:
        if found != expected:
            raise IntegrityError(f"{what} is {found}, expected {expected}", where=where, fix=RERUN)
    if recipe_core(manifest.recipe) != recipe_core(section):
        raise IntegrityError("the recipe is not the one in params.yaml", where=made, fix=RERUN)


def _same_origin(root: Path, params: Params, judged: JudgedArtifact) -> None:
    """The bytes must come from the code, settings and data that this checkout has."""
    folders = (built_folder(judged.candidate.recipe), baseline_folder(judged.candidate.target))
    for built, what in ((judged.built, "artifact"), (judged.baseline, "baseline")):
        for problem in another_origin(root, params, built.manifest, what):
            raise IntegrityError(problem, where=f"{Path(built.path).parent}/manifest.json", fix=RERUN)
    for problem in measured_otherwise(root, judged.measurement):
        raise IntegrityError(problem, where=judged.candidate.measurement, fix=RERUN)
    for problem in stale_inputs(root, folders):
        raise IntegrityError(problem, where=LOCK, fix=RERUN)
    if judged.built.manifest.data != judged.baseline.manifest.data:
        raise IntegrityError(
            "the artifact was made with other data than the baseline", where=judged.built.path, fix=RERUN
        )


def _read_lock(root: Path) -> tuple[dict[str, str], str]:
    """From `dvc.lock`: path of every output → its md5 (a folder's ends in `.dir`); and the file's digest."""
    path = root / LOCK
    if not path.exists():
        raise StateError("file not found", where=LOCK, fix=RERUN)
    return Lock.of(read_yaml(path)).outs(), sha256_bytes(read_bytes(path))


def _locked_file(root: Path, path: str, lock: dict[str, str]) -> None:
    _locked(path, file_md5(root / path), lock)


def _locked_folder(root: Path, folder: str, lock: dict[str, str]) -> None:
    _locked(folder, folder_md5(root / folder), lock)


def _locked(path: str, found: str, lock: dict[str, str]) -> None:
    if path not in lock:
        raise StateError(f"does not name {path}", where=LOCK, fix=RERUN)
    if lock[path] != found:
        raise IntegrityError("is not what dvc.lock says the pipeline made", where=path, fix=RERUN)
