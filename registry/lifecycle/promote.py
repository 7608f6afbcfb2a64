"""Promotion: what passed becomes a version, and `stable` where nothing else was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import StateError
from weighbridge.core.files import sha256_bytes
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.destination import WAITS_FOR, Channel, destination
from weighbridge.registry.lifecycle.evidence import Evidence, gather
from weighbridge.registry.lifecycle.kept import kept_files
from weighbridge.registry.lifecycle.made import Made, digests_of, newest_of, versions_holding
from weighbridge.registry.lookup.location import publish
from weighbridge.registry.state.layout import HAND_EDITED, MODELS, POLICY, evidence_path, home, parse_mapping
from weighbridge.registry.state.records import Channels, VersionRecord
from weighbridge.registry.state.store import Prepare, Store, render, stamp
from weighbridge.registry.state.tip import Committed, Draft, Settings, Tip
from weighbridge.registry.trust import signing
from weighbridge.registry.trust.registry_policy import RegistryPolicy, read_policy
from weighbridge.registry.trust.signing import Signer


@dataclass(frozen=True)
class PromotionRequest:
    """What shall be promoted, and on which conditions."""

    recipe: str
    channel: Channel = "stable"
    expect: str | None = None
    """The version that must be stable at the tip (`none`: nothing may be)."""
    notes: str = ""


@dataclass(frozen=True)
class Handed:
    """Evidence of a run elsewhere, whose bytes the DVC remote has already."""

    evidence: Evidence
    prepare: Prepare
    """Makes the commit that the version is made from: that of the lock file which names these bytes."""


def promote(
    root: Path,
    request: PromotionRequest,
    *,
    settings: Settings | None = None,
    key: Signer | None = None,
    handed: Handed | None = None,
) -> Committed:
    """Record a recipe's artifact as the next version, and put it where `channel` says.

    Refuses (nothing is written): a verdict that is not `pass`, digests that disagree, files that are not what
    `dvc.lock` says, a dirty tree, a commit that the remote does not have, bytes that are a version already or are
    quarantined, a `stable` other than the one that it was weighed against, an identity or key that the policy
    does not name.
    """
    top = home(root)
    store = Store(top, settings)
    store.repair()
    evidence = handed.evidence if handed else gather(root, request.recipe)
    kept = kept_files(root, evidence)
    head = _clean_head(store.git)
    folder = root.resolve().relative_to(top.resolve())
    if store.settings.push and handed is None:
        _publish(top, folder, evidence)

    def decide(tip: Tip, channels: Channels) -> Draft:
        policy, by = read_policy(tip), store.git.identity()
        policy.require_promoter(by)
        _refuse(channels, evidence, request, tip)
        commit = tip.commit if handed else head
        made = Made(evidence, commit, stamp(tip.now), by, channels.next_event, request.notes, folder, kept)
        records, place = made.records(tip, channels), destination(request.channel, channels, policy)
        return Draft(
            kind=place.kind,
            summary=f"{place.verb} {records[-1].version} ({request.recipe})",
            records=tuple((record, _sign(record, key, policy)) for record in records),
            target_is_new=True,
            reason=request.notes or place.note,
            plan=place.plan,
            files={evidence_path(channels.model, records[-1].version, name): data for name, data in kept.items()},
            evidence=_named(evidence, commit) | ({WAITS_FOR: place.waits_for} if place.waits_for else {}),
        )

    model = evidence.params.model.name
    return store.change(model, decide, published=True, prepare=handed.prepare if handed else None)


def _publish(top: Path, folder: Path, evidence: Evidence) -> None:
    built = (*evidence.candidates, *evidence.baselines)
    files = [(artifact.path, artifact.md5) for artifact in built]
    files += [(artifact.weights.path, artifact.weights.md5) for artifact in built if artifact.weights is not None]
    publish(top, [((folder / path).as_posix(), md5) for path, md5 in files])


def _named(evidence: Evidence, commit: str) -> dict[str, str]:
    """What a promotion rests on, as its event names it."""
    verdict = evidence.verdict
    return {"verdict": verdict.verdict.value, "verdict_digest": verdict.content_digest(), "commit": commit}


def _sign(record: VersionRecord, key: Signer | None, policy: RegistryPolicy) -> bytes | None:
    """The record's signed statement, checked against the policy as whoever pulls the version will."""
    name = f"{record.model}@{record.version}"
    if key is None:
        if policy.require_signature:
            raise StateError(
                f"{name} would be unsigned, and the policy refuses that", where=POLICY, fix="--key FILE, or --keyless"
            )
        return None
    data = render(record)
    digest, written = sha256_bytes(data), parse(VersionRecord, parse_mapping(data, name), name)
    envelope = signing.sign(record, digest, key)
    signing.require_statement(envelope, written, digest, "your signature")
    if policy.names_signers:
        signing.verify(envelope, written, digest, policy, "your signature")
    return envelope


def _clean_head(git: Git) -> str:
    edited = git.dirty()
    ours = next((path for path in edited if path.startswith(f"{git.prefix()}{MODELS}/")), None)
    if ours is not None:
        raise StateError("was edited by hand, or is not committed", where=ours, fix=HAND_EDITED)
    if edited:
        more = f" and {len(edited) - 1} more" if len(edited) > 1 else ""
        raise StateError(
            f"the tree is dirty: {edited[0]}{more}",
            fix="commit what the pipeline was run on: a version names the commit that it was made from",
        )
    return git.head()


def _refuse_expired(evidence: Evidence, now: datetime) -> None:
    """A waiver accepts until its last day, and not after it."""
    for waiver in evidence.gate.waivers:
        if now.date().isoformat() > waiver.expires:
            raise StateError(
                f"the verdict rests on a waiver by {waiver.who} that expired on {waiver.expires}",
                where=waiver.file,
                fix="renew it in a pull request and run the gate again",
            )


def _refuse(channels: Channels, evidence: Evidence, request: PromotionRequest, tip: Tip) -> None:
    """Conditions on the state at the tip; they are checked again whenever the tip has moved."""
    _refuse_expired(evidence, tip.now)
    stable = channels.stable
    if request.expect is not None and (stable.version if stable else "none") != request.expect:
        raise StateError(f"stable is {stable.version if stable else 'none'}, expected {request.expect}")
    weighed_against = evidence.stable_references
    if weighed_against and (stable is None or not weighed_against <= digests_of(tip, channels.model, stable.version)):
        raise AnotherStableError(
            f"it was weighed against another stable than {stable.version if stable else 'none'}, which is stable now",
            fix="pull, run `dvc repro` and promote again",
        )
    ours = {built.manifest.artifact.digest for built in evidence.candidates}
    holders = [versions_holding(tip, channels.model, digest) for digest in sorted(ours)]
    for version, digest in channels.quarantined.items():
        if digest in ours or any(version in names for names in holders):
            raise StateError(
                f"these bytes are {channels.model}@{version}, which is quarantined",
                fix=f"`weighbridge registry quarantine {channels.model} {version} --lift --reason …` if that was wrong",
            )
    known = set(holders[0]).intersection(*holders)
    if known:
        version = newest_of(known)
        raise StateError(
            f"these bytes are {channels.model}@{version} already",
            fix=f"`weighbridge registry release {channels.model} {version}` makes it stable",
        )


class AnotherStableError(StateError):
    """What is stable now is not what the candidate was weighed against."""
