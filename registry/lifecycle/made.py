"""Record, card and event of one promotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.documents import RecipeVerdict
from weighbridge.core.documents.base import parse
from weighbridge.core.errors import StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.lifecycle.estimates import estimates
from weighbridge.registry.lifecycle.evidence import Evidence, LockedArtifact
from weighbridge.registry.state.layout import MODELS, read_record, version_path
from weighbridge.registry.state.records import (
    Channels,
    Estimate,
    Judgement,
    StoredArtifact,
    StoredWeights,
    VersionOf,
    VersionRecord,
)
from weighbridge.registry.state.tip import Tip


@dataclass(frozen=True)
class Made:
    """Builds the records of one promotion."""

    evidence: Evidence
    commit: str
    at: str
    by: str
    event: int
    notes: str
    folder: Path
    """The project's, relative to the registry's."""
    kept: Mapping[str, bytes]
    """What stays beside the candidate's record, by name."""

    def records(self, tip: Tip, channels: Channels) -> Sequence[VersionRecord]:
        """The candidate's record, after the baseline's where the baseline is not recorded yet."""
        digest = self.evidence.baseline.manifest.artifact.digest
        found = []
        baseline = channels.baseline.version if channels.baseline else None
        if baseline is None or not self._recorded(tip, channels.model, baseline):
            baseline = f"b{channels.baselines + 1}"
            found.append(self._baseline(channels.model, baseline))
        teacher = self.evidence.candidate.manifest.teacher
        of_baseline = VersionOf(version=baseline, digest=digest)
        of_teacher = None
        if teacher is not None:
            taught = {baseline} if teacher == digest else versions_holding(tip, channels.model, teacher)
            known = newest_of(taught) if taught else None
            of_teacher = VersionOf(version=known, digest=teacher)
        found.append(self._candidate(f"v{channels.versions + 1}", channels.model, of_baseline, of_teacher))
        return found

    def _recorded(self, tip: Tip, model: str, version: str) -> bool:
        """Whether the baseline's record holds the uncompressed artifact of every target."""
        record = parse(VersionRecord, read_record(tip, model, version), version_path(model, version))
        known = {artifact.digest for artifact in record.artifacts}
        return known >= {built.manifest.artifact.digest for built in self.evidence.baselines}

    def _candidate(self, version: str, model: str, baseline: VersionOf, teacher: VersionOf | None) -> VersionRecord:
        evidence = self.evidence
        manifest = evidence.candidate.manifest
        return VersionRecord(
            **self._origin(evidence.candidates),
            model=model,
            version=version,
            kind="compressed",
            recipe_name=evidence.recipe,
            recipe=manifest.recipe,
            metrics=estimates(evidence.measurement),
            verdict=self._judgement(evidence.verdict),
            others={item.candidate.name: self._judgement(item.verdict) for item in evidence.judged[1:]},
            baseline=baseline,
            teacher=teacher,
            device=evidence.measurement.device,
            notes=self.notes,
            evidence={name: sha256_bytes(data) for name, data in self.kept.items()},
        )

    def _judgement(self, verdict: RecipeVerdict) -> Judgement:
        return Judgement(
            verdict=verdict.verdict,
            digest=verdict.content_digest(),
            file=self.evidence.gate_digest,
            policy=self.evidence.gate.policy,
            measurement=verdict.measurement,
            device=verdict.device,
            budgets=verdict.budgets,
        )

    def _baseline(self, model: str, version: str) -> VersionRecord:
        values: dict[str, Estimate] = {}
        for name, estimate in estimates(self.evidence.measurement).items():
            if estimate.baseline is not None and estimate.lower == estimate.upper:
                value = estimate.baseline
                values[name] = Estimate(value=value, lower=value, upper=value, unit=estimate.unit)
        return VersionRecord(
            **self._origin(self.evidence.baselines),
            model=model,
            version=version,
            kind="baseline",
            recipe_name="baseline",
            recipe={},
            metrics=values,
            verdict=None,
            baseline=None,
            device=None,
            notes="",
        )

    def _stored(self, built: LockedArtifact) -> StoredArtifact:
        manifest = built.manifest
        return StoredArtifact(
            target=manifest.target,
            path=(self.folder / built.path).as_posix(),
            digest=manifest.artifact.digest,
            bytes=manifest.artifact.bytes,
            gzip=built.gzip,
            zstd=manifest.sizes.zstd,
            params=manifest.sizes.params,
            macs=manifest.sizes.macs,
            md5=built.md5,
            manifest=built.manifest_digest,
            requires=manifest.requires,
            weights=self._weights(built.weights),
        )

    def _weights(self, weights: StoredWeights | None) -> StoredWeights | None:
        if weights is None:
            return None
        return weights.model_copy(update={"path": (self.folder / weights.path).as_posix()})

    def _origin(self, built: Sequence[LockedArtifact]) -> dict[str, object]:
        manifest = built[0].manifest
        return {
            "event": self.event,
            "at": self.at,
            "by": self.by,
            "artifacts": [self._stored(item) for item in built],
            "commit": self.commit,
            "dvc_lock": self.evidence.lock_digest,
            "params": self.evidence.params_digest,
            "data": manifest.data,
            "code": manifest.code,
            "seed": manifest.seed,
            "environment": manifest.environment,
            "licence": self.evidence.params.model.licence,
        }


def digests_of(tip: Tip, model: str, version: str) -> set[str]:
    """Of all artifacts of a version; none where its record is gone, as that of a quarantined one may be."""
    try:
        record = parse(VersionRecord, read_record(tip, model, version), version_path(model, version))
    except StateError:
        return set()
    return {artifact.digest for artifact in record.artifacts}


def versions_holding(tip: Tip, model: str, digest: str) -> set[str]:
    """The versions with an artifact of these bytes: one search by git over the records at the tip."""
    folder = f"{tip.prefix}{MODELS}/{model}/versions"
    done = tip.git.attempt("grep", "-l", "-z", "--fixed-strings", digest, tip.commit, "--", f":(top,literal){folder}")
    names = [name.rpartition("/")[2].removesuffix(".yaml") for name in done.stdout.split("\0") if name]
    return {name for name in names if digest in digests_of(tip, model, name)}


def newest_of(versions: set[str]) -> str:
    """The version with the highest number: `v12` after `v9`."""
    return max(versions, key=lambda name: (name[:1], int(name[1:])))
