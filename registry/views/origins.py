"""Where an event and a version came from: the commit in Git, and the pull request that its subject names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from weighbridge.core.git import Git
from weighbridge.registry.state.layout import event_path, model_folder

_PULL_REQUEST = re.compile(r"^Merge pull request #(\d+) |\(#(\d+)\)$")
_WEIGHED_AT = re.compile(r": record what the gate weighed at ([0-9a-f]{12,40})$")
_LONGEST_WAY = 20


@dataclass(frozen=True)
class Origins:
    """What Git says of the history of one model; everything is unknown outside of a repository."""

    git: Git
    model: str

    def commit(self, number: int) -> str | None:
        """The commit that brought an event, 12 digits; None where this clone cannot tell."""
        return self._commits.get(f"{self.git.prefix()}{event_path(self.model, number)}")

    @cached_property
    def _commits(self) -> dict[str, str]:
        """Path of an event's file → the commit that added it, by one process."""
        folder = f":(top,literal){self.git.prefix()}{model_folder(self.model)}/events"
        command = ("log", "--diff-filter=A", "--no-renames", "--format=%x01%h %P", "--abbrev=12", "--name-only", "-z")
        done = self.git.attempt(*command, "--", folder)
        if done.returncode != 0:
            return {}
        cut = self._cut_off
        found: dict[str, str] = {}
        for entry in done.stdout.split("\x01")[1:]:
            head, _, names = entry.partition("\0")
            commit = head.split()[0]
            if commit not in cut:
                found |= {name.strip(): commit for name in names.split("\0") if name.strip()}
        return found

    @cached_property
    def _cut_off(self) -> set[str]:
        """Commits at which a shallow clone ends: they seem to bring everything that is older."""
        path = self.git.folder() / "shallow"
        return {line[:12] for line in path.read_text().split()} if path.is_file() else set()

    def pull_request(self, commit: str) -> int | None:
        """The pull request whose merge a version was made from, as GitHub writes it into the commit's subject."""
        for _ in range(_LONGEST_WAY):
            done = self.git.attempt("log", "-1", "--format=%s", commit, "--")
            subject = done.stdout.strip()
            found = _PULL_REQUEST.search(subject)
            if found:
                return int(found[1] or found[2])
            weighed = _WEIGHED_AT.search(subject)
            if done.returncode != 0 or weighed is None:
                return None
            commit = weighed[1]
        return None
