"""A thin wrapper around the git command: argument lists, no shell, errors as `StateError`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from weighbridge.errors import StateError


class Git:
    """git in one working tree. Nothing here rewrites history."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def discover(cls, start: Path) -> Git:
        """The repository around `start`; a `StateError` where there is none."""
        top = cls(start).run("rev-parse", "--show-toplevel")
        return cls(Path(top))

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run git and return what it printed, without the last newline; a `StateError` if git refuses."""
        done = self.attempt(*arguments, stdin=stdin)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise StateError(f"git {arguments[0]} failed: {said}", where=str(self.root))
        return done.stdout.rstrip("\n")

    def attempt(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run git and return the finished process whatever its exit code; never asks a question."""
        try:
            return subprocess.run(
                ["git", *arguments],
                cwd=self.root,
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise StateError("git, or the folder to run it in, is not there", where=str(self.root)) from error

    def head(self) -> str:
        """The commit of HEAD, 40 hex digits; a `StateError` in a repository without commits."""
        return self.run("rev-parse", "--verify", "HEAD^{commit}")

    def dirty(self, *paths: str) -> list[str]:
        """Paths that differ from HEAD, untracked ones included, under `paths` or anywhere."""
        listing = self.run("status", "--porcelain", "--untracked-files=all", "--", *paths)
        return [line[3:] for line in listing.splitlines()]

    def show(self, revision: str, path: str) -> str | None:
        """A file's text at a revision, or None where that revision does not have it."""
        done = self.attempt("show", f"{revision}:{path}")
        return done.stdout if done.returncode == 0 else None
