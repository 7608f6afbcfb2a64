"""The one door to the registry's state: read it at the tip, decide, write one commit, compare and swap.

A decision is a function of the state that it sees. If somebody else was faster, it is taken again on the new state;
it is never rebased.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import StateError
from weighbridge.core.files import dump_yaml, sha256_bytes
from weighbridge.core.git import Git
from weighbridge.registry.state import commit as commits
from weighbridge.registry.state import rollout
from weighbridge.registry.state.events import Event, EventKind, NewRecord
from weighbridge.registry.state.layout import (
    AS_STORED,
    ATTRIBUTES,
    channels_path,
    event_path,
    model_folder,
    parse_mapping,
    read_channels,
    read_record,
    refuse_case_collisions,
    require_channels,
    signature_path,
    version_path,
)
from weighbridge.registry.state.records import NO_EVENT, Channels, Head, Pointer, VersionRecord
from weighbridge.registry.state.tip import Committed, Draft, Settings, Tip


@dataclass(frozen=True)
class _Built:
    """A change as a commit that no branch has yet."""

    event: Event
    channels: Channels
    commit: str


Decide = Callable[[Tip, Channels], Draft]
"""From the state at the tip and a model's channels there to what shall happen; raises to refuse."""
Prepare = Callable[[str], str]
"""From the tip to a commit on top of it, or the tip itself; raises to refuse."""


class Store:
    """The registry of one project in one clone."""

    def __init__(self, root: Path, settings: Settings | None = None) -> None:
        self.root = root
        self.settings = settings or Settings()
        self.git = Git(root)

    def change(
        self, model: str, decide: Decide, *, published: bool = False, prepare: Prepare | None = None
    ) -> Committed:
        """Take a decision and make it so, as one commit with one event.

        `published`: the decision rests on the local HEAD, which the remote must have. `prepare`: makes the commit that
        the event's is built on, and that is pushed with it. Raises what these raise, and `StateError` where the
        registry's files were edited, the remote refuses, or others are faster too often.
        """
        with commits.locked(self.git, self.settings.lock_seconds, self.settings.sleep) as lock:
            commits.recover(self.git)
            self._refuse_edits(model)
            remote = self._remote()
            for attempt in range(1, self.settings.attempts + 1):
                base = self._fetch(remote, published=published) if remote else self.git.head()
                made = self._build(model, decide, prepare(base) if prepare else base)
                accepted = self._publish(remote, base, made.commit) if remote else True
                if accepted:
                    local = self._follow(made.commit, lock, strict=remote is None)
                    return Committed(made.event, made.channels, made.commit, remote is not None, attempt, local)
                self.settings.sleep(self.settings.jitter.uniform(0, min(3.0, 0.1 * 2**attempt)))
        raise StateError(
            f"gave up after {self.settings.attempts} concurrent updates; nothing was changed", fix="try again later"
        )

    def repair(self) -> bool:
        """Finish a change that a killed command had begun; whether there was one."""
        with commits.locked(self.git, self.settings.lock_seconds, self.settings.sleep):
            return commits.recover(self.git)

    def _refuse_edits(self, model: str) -> None:
        edited = self.git.dirty(model_folder(model))
        if edited:
            raise StateError(
                "was edited by hand, or is not committed",
                where=edited[0],
                fix="restore it with git: the registry's files are written by commands only",
            )

    def _remote(self) -> tuple[str, str] | None:
        """The remote and its branch to swap against; None where the change stays local."""
        if not self.settings.push:
            return None
        names = self.git.run("remote").split()
        branch = self.git.branch()
        own = self.git.attempt("config", f"branch.{branch}.remote").stdout.strip() if branch else ""
        name = self.settings.remote or own or "origin"
        if self.settings.remote is None and name not in names:
            return None
        if name not in names:
            raise StateError(f"git remote {name!r} not found", fix=f"remotes: {', '.join(names) or 'none'}")
        if branch is None:
            raise StateError("HEAD is on no branch", fix="check out the branch that carries the registry")
        merge = self.git.attempt("config", f"branch.{branch}.merge").stdout.strip() if name == own else ""
        return name, merge.removeprefix("refs/heads/") or branch

    def _fetch(self, remote: tuple[str, str], *, published: bool) -> str:
        name, branch = remote
        tracking = f"refs/remotes/{name}/{branch}"
        before = self.git.commit_of(tracking)
        done = self.git.attempt("fetch", "--quiet", "--no-tags", name, f"+refs/heads/{branch}:{tracking}")
        if done.returncode != 0:
            said = (done.stderr.strip() or "no message").splitlines()[0]
            raise StateError(f"cannot fetch {branch} from {name}: {said}", fix="push the branch, or use --no-push")
        tip = self.git.run("rev-parse", "--verify", tracking)
        if before is not None and not self.git.is_ancestor(before, tip):
            self.git.run("update-ref", tracking, before)  # so that the next command refuses it too
            raise StateError(
                f"was rewound or rewritten: it does not contain {before[:12]}, which this clone has seen there",
                where=f"{name}/{branch}",
                fix=f"push the lost commits again; if that was meant, `git fetch {name}` and look at it first",
            )
        if published and not self.git.is_ancestor(self.git.head(), tip):
            raise StateError(
                f"{name}/{branch} does not have the commit that you are on", fix="push it first, or use --no-push"
            )
        return tip

    def _build(self, model: str, decide: Decide, base: str) -> _Built:
        tip = Tip(self.git, base, self._now(), self.git.prefix())
        found = read_channels(tip, model)
        channels = parse(Channels, found, channels_path(model)) if found else Channels(model=model)
        if not found:
            refuse_case_collisions([*tip.models(), model])
        self._refuse_dropped_events(model, channels, base)
        tip = replace(tip, now=_not_before(tip, channels))
        draft = decide(tip, channels)
        event, files = assemble(channels, draft, stamp(tip.now), self.git.identity())
        folded = rollout.apply(channels, event)
        event = event.model_copy(update={"after": rollout.after(folded), "state": folded.digest()})
        data = render(event)
        files[event_path(model, event.number)] = data
        folded = folded.model_copy(update={"head": Head(event=event.number, digest=sha256_bytes(data))})
        files[channels_path(model)] = render(folded)
        files |= draft.files
        if tip.read(ATTRIBUTES) is None:
            files[ATTRIBUTES] = AS_STORED
        prefixed = {f"{tip.prefix}{path}": content for path, content in files.items()}
        message = f"{model}: {draft.summary}\n\nRegistry event {event.number}: {event.kind}\n"
        replaces = f"{tip.prefix}{channels_path(model)}"
        return _Built(event, folded, commits.build(self.git, base, prefixed, message, replaces=replaces))

    def _refuse_dropped_events(self, model: str, channels: Channels, base: str) -> None:
        """A `StateError` for a tip that lacks events which this clone has: rewound, or they wait for a merge."""
        head = self.git.commit_of("HEAD")
        if head is None or head == base:
            return
        where = channels_path(model)
        data = self.git.blob(head, f"{self.git.prefix()}{where}")
        ours = parse_mapping(data, where)["head"]["event"] if data is not None else 0
        theirs = channels.head.event if channels.head else 0
        if ours > theirs and not self.git.is_ancestor(head, base):
            raise StateError(
                f"has {theirs} events of {model}, and this clone {ours}: it was rewound, or yours are not merged yet",
                where=f"the remote at {base[:12]}",
                fix="push or merge them first; nothing was changed",
            )

    def _now(self) -> datetime:
        return self.settings.clock().astimezone(UTC).replace(microsecond=0)

    def _publish(self, remote: tuple[str, str] | None, base: str, made: str) -> bool:
        """Push; whether the remote took it. False: its tip has moved, decide again."""
        assert remote is not None
        name, branch = remote
        done = self.git.attempt("push", "--quiet", "--porcelain", name, f"{made}:refs/heads/{branch}")
        if done.returncode == 0:
            return True
        tip = self._fetch(remote, published=False)
        if self.git.is_ancestor(made, tip):
            return True  # the answer was lost on the way, the push was not
        said = f"{done.stdout}\n{done.stderr}"
        if tip != base or "cannot lock ref" in said or "failed to update ref" in said:
            return False
        lines = [line.strip() for line in said.splitlines() if "rejected" in line or "error" in line or "fatal" in line]
        raise StateError(
            f"{name} refused the push: {' / '.join(lines[:2]) or 'no message'}",
            fix="nothing was changed; check your rights on the branch, or use --no-push for a pull request",
        )

    def _follow(self, made: str, lock: int, *, strict: bool) -> str | None:
        """Move the local branch and the working tree to the commit."""
        head = self.git.head()
        if not self.git.is_ancestor(head, made):
            return "the local branch has commits of its own: merge the remote's branch"
        branch = self.git.branch()
        try:
            obstacle = commits.advance(self.git, f"refs/heads/{branch}" if branch else "HEAD", head, made, lock=lock)
        except StateError as error:
            if strict:
                raise
            obstacle = str(error)  # the remote has the change: it is made, whatever this clone can show
        if obstacle and strict:
            raise StateError(f"nothing was changed: {obstacle}", fix="commit or restore it")
        return f"{obstacle}: pull when that is settled" if obstacle else None


def _not_before(tip: Tip, channels: Channels) -> datetime:
    """Now, but never before the last event: a history whose clock runs back has no answer to "when?"."""
    if channels.head is None:
        return tip.now
    where = event_path(channels.model, channels.head.event)
    return max(tip.now, datetime.fromisoformat(str(parse_mapping(tip.read(where) or b"", where)["at"])))


def assemble(channels: Channels, draft: Draft, at: str, by: str) -> tuple[Event, dict[str, bytes]]:
    """The event of a draft, still without its `after` and `state`, and the files of its new versions."""
    model = channels.model
    files: dict[str, bytes] = {}
    entries = []
    for record, signature in draft.records:
        data = render(record)
        files[version_path(model, record.version)] = data
        if signature is not None:
            files[signature_path(model, record.version)] = signature
        entries.append(
            NewRecord(
                version=record.version,
                digest=record.artifacts[0].digest,
                record=sha256_bytes(data),
                signature=sha256_bytes(signature) if signature is not None else None,
            )
        )
    target = draft.target
    if draft.target_is_new:
        target = Pointer(version=entries[-1].version, digest=entries[-1].digest, record=entries[-1].record)
    event = Event(
        schema_version=draft.evidence["schema"] if draft.kind is EventKind.MIGRATED else channels.schema_version,
        number=channels.next_event,
        model=model,
        kind=draft.kind,
        at=at,
        by=by,
        reason=draft.reason,
        records=entries,
        target=target,
        plan=draft.plan,
        step=draft.step,
        quarantine=list(draft.quarantine),
        evidence=dict(draft.evidence),
        previous=channels.head.digest if channels.head else NO_EVENT,
    )
    return event, files


def render(document: VersionRecord | Event | Channels) -> bytes:
    """The bytes that a document has in the registry."""
    return dump_yaml(document.to_json()).encode()


def stamp(now: datetime) -> str:
    """A time as the registry writes it: UTC, to the second."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def pointer_to(tip: Tip, model: str, version: str) -> Pointer:
    """A pointer to an existing version, its record checked; a `StateError` where it is missing."""
    require_channels(tip, model)
    where = version_path(model, version)
    record = parse(VersionRecord, read_record(tip, model, version), where)
    data = tip.read(where) or b""
    return Pointer(version=version, digest=record.artifacts[0].digest, record=sha256_bytes(data))
