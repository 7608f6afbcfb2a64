"""The bridge to GTO: annotated tags in its form, so that its users see the same versions and stages.

A tag follows from an event and nothing else: its name, its commit, its tagger, its time and its message, so two
clones write the same tag objects, and a tag that was made or moved by hand shows.

GTO 1.10 wants semantic versions: `v7` is `v7.0.0` there, and the baseline `b1` is `v0.0.1`. It takes the version of
a stage from the commit that is tagged, so every version has one commit of its own: the one that recorded it, or, for
a baseline, the one that first made it serve. A stage is taken from the version that loses it before the next one
gets it, in the order of the tags' times: all of GTO's ways to ask then give one answer, after a roll-back too.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.git import Git
from weighbridge.registry.state.events import After, Event, EventKind
from weighbridge.registry.state.layout import WorkTree, event_path, model_folder
from weighbridge.registry.state.snapshot import ModelState, read_model

STAGES = ("stable", "canary")
# What GTO accepts as an artifact's name (its regular expression `name`).
_GTO_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?")


@dataclass(frozen=True)
class Tag:
    """One annotated tag that an event requires."""

    name: str
    """Such as `fashion-cnn@v7.0.0#3`, `fashion-cnn#stable#4`, or `fashion-cnn#stable!#5` where a stage is taken."""
    commit: str
    tagger: str
    """`Name <email>`, as in the event."""
    at: int
    """Seconds since 1970; grows from tag to tag."""
    message: str

    def content(self) -> str:
        """The tag object's text, as git stores it."""
        return (
            f"object {self.commit}\ntype commit\ntag {self.name}\ntagger {self.tagger} {self.at} +0000\n\n"
            f"{self.message}\n"
        )

    def object_id(self, algorithm: str) -> str:
        """The id that git gives the tag's object: a hash over its text (`sha1`, or `sha256`)."""
        data = self.content().encode()
        return hashlib.new(algorithm, b"tag %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class ComparedTags:
    """The tags that history requires, and how the repository differs."""

    expected: tuple[Tag, ...]
    missing: tuple[Tag, ...]
    wrong: tuple[str, ...]
    """Tags of that name which are another object: moved, lightweight, or made by hand."""
    unexpected: tuple[str, ...]
    """Tags in GTO's form of this model that no event requires."""

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "expected": [tag.name for tag in self.expected],
            "missing": [tag.name for tag in self.missing],
            "wrong": list(self.wrong),
            "unexpected": list(self.unexpected),
        }

    def require_same(self) -> None:
        """An error that names the first difference, unless there is none."""
        if self.wrong or self.unexpected:
            name = (self.wrong + self.unexpected)[0]
            said = "is not the tag that the history requires" if self.wrong else "is required by no event"
            raise IntegrityError(said, where=f"tag {name}", fix=f"`git tag -d '{name}'` removes it")
        if self.missing:
            raise StateError(
                f"{len(self.missing)} of {len(self.expected)} tags are missing, the first is {self.missing[0].name}",
                fix="`weighbridge registry tags MODEL` writes them",
            )


def gto_version(version: str) -> str:
    """GTO's name of a version: `v7` → `v7.0.0`, the baseline `b1` → `v0.0.1`."""
    return f"v0.0.{version[1:]}" if version.startswith("b") else f"{version}.0.0"


def expected_tags(model: str, events: tuple[Event, ...], commits: Mapping[int, str]) -> tuple[Tag, ...]:
    """The tags that a history requires, in order. `commits`: of each event's number, the commit that brought it.

    A model whose name GTO cannot read is an `InputError`.
    """
    if not _GTO_NAME.fullmatch(model):
        raise InputError(f"GTO cannot read the name {model!r}", fix="its names end with a letter or digit")
    tags: list[Tag] = []
    homes: dict[str, str] = {}
    before = After()
    time = 0
    for event in events:
        for form, version in _steps(event, before, homes):
            home = homes.setdefault(version, commits[event.number])
            if any(other != version and place == home for other, place in homes.items()):
                raise StateError(
                    f"{version} came with one commit together with another version: GTO cannot tell them apart",
                    where=f"commit {home}",
                    fix="merge changes of the registry without squashing them",
                )
            time = max(time + 1, int(datetime.fromisoformat(event.at).astimezone(UTC).timestamp()))
            name = f"{model}{form}#{len(tags) + 1}"
            tags.append(Tag(name, home, _tagger(event.by), time, _message(event, version)))
        before = event.after
    return tuple(tags)


def _steps(event: Event, before: After, homes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What one event changes in GTO's terms: the tag's form, and the version that it is about.

    A stage or a version is taken before another one is given.
    """
    for entry in event.records:
        if entry.version.startswith("v"):
            yield f"@{gto_version(entry.version)}", entry.version
    moved = [(stage, getattr(before, stage), getattr(event.after, stage)) for stage in STAGES]
    moved = [(stage, old, new) for stage, old, new in moved if old != new]
    yield from ((f"#{stage}!", old) for stage, old, _ in moved if old)
    yield from ((f"@{gto_version(version)}!", version) for version in _withdrawn(event) if version in homes)
    if event.kind is EventKind.QUARANTINE_LIFTED and event.target and event.target.version in homes:
        yield f"@{gto_version(event.target.version)}", event.target.version
    for stage, _, new in moved:
        if new and new.startswith("b") and new not in homes:
            yield f"@{gto_version(new)}", new
        if new:
            yield f"#{stage}", new


def _withdrawn(event: Event) -> list[str]:
    """Versions that an event quarantines: GTO's users must not find them either."""
    named = [pointer.version for pointer in event.quarantine]
    if event.kind is EventKind.QUARANTINED and event.target and event.target.version not in named:
        named.append(event.target.version)
    return named


def _tagger(by: str) -> str:
    """The event's author as git writes people; anything else is quoted into a form that git takes."""
    if re.fullmatch(r"[^<>\n]+ <[^<>\n]+>", by):
        return by
    return f"{re.sub(r'[<>]', '', ' '.join(by.split())) or 'unknown'} <>"


def _message(event: Event, version: str) -> str:
    reason = f": {' '.join(event.reason.split())}" if event.reason.strip() else ""
    return f"{event.kind} {version}{reason}\n\nEvent {event.number}, after {event.previous}"


def compare(root: Path, model: str) -> tuple[ModelState, ComparedTags]:
    """The tags of the repository beside those that the working tree's history requires."""
    git = Git(root)
    state = read_model(WorkTree(root), model)
    expected = expected_tags(model, state.events, event_commits(git, state))
    found = _found(git, model)
    algorithm = git.run("rev-parse", "--show-object-format")
    ids = {tag.name: tag.object_id(algorithm) for tag in expected}
    return state, ComparedTags(
        expected,
        missing=tuple(tag for tag in expected if tag.name not in found),
        wrong=tuple(tag.name for tag in expected if tag.name in found and found[tag.name] != ids[tag.name]),
        unexpected=tuple(sorted(set(found) - set(ids))),
    )


def write(root: Path, model: str, *, push: str | None = None) -> ComparedTags:
    """Write the tags that are missing, all or none, and push them to the remote `push`, all or none.

    Refuses where a tag is wrong or unexpected: this program never moves and never deletes a tag. Returns what
    was found before.
    """
    git = Git(root)
    _, compared = compare(root, model)
    if compared.wrong or compared.unexpected:
        compared.require_same()
    if compared.missing:
        ids = _store(git, compared.missing)
        lines = [f"create refs/tags/{tag.name} {made}" for tag, made in zip(compared.missing, ids, strict=True)]
        git.run("update-ref", "--stdin", stdin="start\n" + "\n".join(lines) + "\nprepare\ncommit\n")
    if push is not None and compared.expected:
        names = [f"refs/tags/{tag.name}" for tag in compared.expected]
        git.run("push", "--quiet", "--atomic", push, *names)
    return compared


def event_commits(git: Git, state: ModelState) -> dict[int, str]:
    """The commit that brought each event; a `StateError` where the clone's history does not reach back that far."""
    folder = f"{git.prefix()}{model_folder(state.name)}/events"
    listing = git.run(
        "log", "--format=%x01%H", "--diff-filter=A", "--name-only", "--no-renames", "-z",
        "HEAD", "--", f":(top,literal){folder}",
    )  # fmt: skip
    commits: dict[str, str] = {}
    for part in listing.split("\x01")[1:]:
        fields = [field.strip("\n") for field in part.split("\0")]
        for path in fields[1:]:
            if path:
                commits[path] = fields[0]
    found = {}
    for event in state.events:
        path = f"{git.prefix()}{event_path(state.name, event.number)}"
        if path not in commits:
            raise StateError(
                "no commit of this branch brought it", where=path, fix="commit it, or `git fetch --unshallow`"
            )
        found[event.number] = commits[path]
    return found


def _found(git: Git, model: str) -> dict[str, str]:
    """Tags in GTO's form of one model, with their objects."""
    patterns = (f"refs/tags/{model}@*", f"refs/tags/{model}#*")
    listing = git.run("for-each-ref", "--format=%(refname:strip=2) %(objectname)", *patterns)
    return dict(line.rsplit(" ", 1) for line in listing.splitlines())


def _store(git: Git, tags: Sequence[Tag]) -> list[str]:
    """Store the tags' objects, to which no name leads yet; their ids. One process, however many there are."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(position) for position in range(len(tags))]
        for path, tag in zip(paths, tags, strict=True):
            path.write_text(tag.content(), encoding="utf-8")
        listing = "".join(f"{path}\n" for path in paths)
        return git.run("hash-object", "-t", "tag", "-w", "--stdin-paths", stdin=listing).split()
