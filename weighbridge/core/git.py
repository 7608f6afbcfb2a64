"""A thin wrapper around the git command: argument lists, no shell, errors as `StateError`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from weighbridge.core.errors import InputError, StateError
from weighbridge.core.project import COMMAND, PARAMS, PIPELINE

_DEEPER = "fetch the whole history: `fetch-depth: 0` in actions/checkout, or `git fetch --unshallow`"
_DVC_IGNORED = ".dvc/.gitignore"
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


class Git:
    """git in one working tree. Nothing here rewrites history."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder: Path | None = None
        self._top: Path | None = None
        self._prefix: str | None = None
        self._identity: str | None = None

    @classmethod
    def discover(cls, start: Path) -> Git:
        """The repository around `start`; a `StateError` where there is none."""
        top = cls(start).run("rev-parse", "--show-toplevel")
        return cls(Path(top))

    def run(
        self,
        *arguments: str,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> str:
        """Run git and return what it printed, without the last newline; a `StateError` if git refuses."""
        done = self.attempt(*arguments, stdin=stdin, env=env, keep_open=keep_open)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise StateError(f"git {arguments[0]} failed: {said}", where=str(self.root))
        return done.stdout.rstrip("\n")

    def attempt(
        self,
        *arguments: str,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run git and return the finished process whatever its exit code; never asks a question.

        `env` adds to the environment, e.g. `GIT_INDEX_FILE` for an index of one's own. `keep_open`: descriptors that
        git inherits, such as that of a lock, which then is held until git has ended, even if this process is killed.
        """
        try:
            return subprocess.run(
                ["git", *arguments],
                cwd=self.root,
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, **_QUIET, **(env or {})},
                pass_fds=keep_open,
            )
        except FileNotFoundError as error:
            raise StateError("git or the working folder not found", where=str(self.root)) from error

    def head(self) -> str:
        """The commit of HEAD, 40 hex digits; a `StateError` in a repository without commits."""
        return self.run("rev-parse", "--verify", "HEAD^{commit}")

    def refuse_shallow(self) -> None:
        """Raise `StateError` in a shallow clone: what two commits share may be cut off."""
        if self.run("rev-parse", "--is-shallow-repository") == "true":
            raise StateError("the clone is shallow, so the merge base is unknown", where=str(self.root), fix=_DEEPER)

    def merge_base(self, revision: str) -> str:
        """The newest commit that HEAD and `revision` share.

        An unknown revision, or histories without a common commit, are a `StateError`: a wrong base would compare with
        somebody else's policy.
        """
        if revision.startswith("-") or self.attempt("rev-parse", "--verify", f"{revision}^{{commit}}").returncode != 0:
            raise StateError(f"the base {revision!r} is not in this clone", where=str(self.root), fix=_DEEPER)
        done = self.attempt("merge-base", "HEAD", revision)
        if done.returncode != 0:
            raise StateError(f"HEAD and {revision!r} have no commit in common", where=str(self.root), fix=_DEEPER)
        return done.stdout.strip()

    def dirty(self, *paths: str) -> list[str]:
        """Paths that differ from HEAD, untracked ones included, under `paths` or anywhere.

        What DVC has Git ignore in its own folder is none: DVC writes that by itself, whatever it was asked.
        """
        listing = self.run("status", "--porcelain", "--untracked-files=all", "--", *paths)
        found = (line[3:] for line in listing.splitlines())
        return [path for path in found if path != _DVC_IGNORED and not path.endswith(f"/{_DVC_IGNORED}")]

    def show(self, revision: str, path: str) -> str | None:
        """A file's text at a revision, or None where that revision does not have it."""
        done = self.attempt("show", f"{revision}:{path}")
        return done.stdout if done.returncode == 0 else None

    def folder(self) -> Path:
        """The absolute path of this working tree's own git folder."""
        if self._folder is None:
            self._folder = Path(self.run("rev-parse", "--absolute-git-dir"))
        return self._folder

    def top(self) -> Path:
        """The top folder of this working tree."""
        if self._top is None:
            self._top = Path(self.run("rev-parse", "--show-toplevel"))
        return self._top

    def prefix(self) -> str:
        """Where `root` lies within the repository, as `sub/folder/`; empty at its top."""
        if self._prefix is None:
            self._prefix = self.run("rev-parse", "--show-prefix")
        return self._prefix

    def commit_of(self, revision: str) -> str | None:
        """The commit that a revision names, or None where there is no such revision."""
        done = self.attempt("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return done.stdout.strip() or None if done.returncode == 0 else None

    def branch(self) -> str | None:
        """The branch that HEAD is on; None where HEAD is detached."""
        done = self.attempt("symbolic-ref", "--quiet", "--short", "HEAD")
        return done.stdout.strip() or None if done.returncode == 0 else None

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `newer` contains `older`."""
        return older == newer or self.attempt("merge-base", "--is-ancestor", older, newer).returncode == 0

    def identity(self) -> str:
        """Who commits here, as `Name <email>`; a `StateError` where git does not know."""
        if self._identity is None:
            done = self.attempt("var", "GIT_COMMITTER_IDENT")
            if done.returncode != 0:
                raise StateError("git does not know who commits", fix="set git config user.name and user.email")
            self._identity = done.stdout.rpartition(">")[0] + ">"
        return self._identity

    def blob(self, revision: str, path: str) -> bytes | None:
        """A regular file's bytes at a revision, as stored; None where that revision does not have one there.

        `path` is relative to the top of the repository.
        """
        listing = self.run("ls-tree", "-z", "--full-tree", revision, "--", path).rstrip("\0")
        fields = listing.partition("\t")[0].split()
        if len(fields) != 3 or fields[0] not in ("100644", "100755"):
            return None
        return self.object_bytes(fields[2])

    def object_bytes(self, blob: str) -> bytes:
        """The bytes of a blob by its id."""
        return self._bytes("cat-file", "blob", blob)

    def objects(self, blobs: Sequence[str]) -> list[bytes]:
        """The bytes of several blobs by their ids, by one process."""
        if not blobs:
            return []
        answer = self._bytes("cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode())
        found, start = [], 0
        for blob in blobs:
            end = answer.index(b"\n", start)
            fields = answer[start:end].split()
            if len(fields) != 3 or fields[1] != b"blob":
                raise StateError(f"git has no file {blob[:12]}", where=str(self.root))
            size = int(fields[2])
            found.append(answer[end + 1 : end + 1 + size])
            start = end + size + 2
        return found

    def present(self, revision: str, paths: Sequence[str]) -> set[str]:
        """Which of these paths, relative to the top of the repository, a revision has."""
        if not paths:
            return set()  # git would list everything
        listing = self.run("ls-tree", "-z", "--full-tree", "--name-only", revision, "--", *paths)
        return {path for path in listing.split("\0") if path}

    def write_blobs(self, files: Sequence[Path]) -> list[str]:
        """Store the bytes of files, as they are, as objects, by one process; their ids."""
        names = "".join(f"{file}\n" for file in files)
        return self.run("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=names).split()

    def _bytes(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, input=stdin, capture_output=True, check=False,
            env={**os.environ, **_QUIET},
        )  # fmt: skip
        if done.returncode != 0:
            said = (done.stderr.decode(errors="replace").strip() or "no message").splitlines()[-1]
            raise StateError(f"git {arguments[0]} failed: {said}", where=str(self.root))
        return done.stdout


def find_project(start: Path) -> Path:
    """The folder of the project that a folder belongs to: the closest one with a `params.yaml` of ours, up to Git's
    top; else the one project of the repository, where it has a single one.

    Raises `InputError` that names the places where none was found, or the projects to choose from.
    """
    here = start.resolve()
    top = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), Path(here.anchor))
    around = [folder for folder in (here, *here.parents) if folder.is_relative_to(top) and (folder / PARAMS).is_file()]
    ours = next((folder for folder in around if not _other_params(folder)), None)
    if ours is not None:
        return start if ours == here else ours
    below = _pipelines(top)
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(sorted(folder.relative_to(top).as_posix() for folder in below))
        raise InputError("the repository has several projects", where=str(here), fix=f"choose one with --root: {names}")
    if around:
        return start if around[0] == here else around[0]
    raise InputError(
        f"no {PARAMS} in this folder, nor in one above it within the repository",
        where=str(here),
        fix="name the project's folder with --root, or make one: weighbridge init",
    )


def _other_params(folder: Path) -> bool:
    """Whether a folder's `params.yaml` is of somebody else's pipeline; one that cannot be read counts as ours."""
    from weighbridge.core.strict_yaml import parse_yaml  # noqa: PLC0415  # most commands never ask

    try:
        content = parse_yaml((folder / PARAMS).read_text(encoding="utf-8"), str(folder / PARAMS))
    except (InputError, UnicodeDecodeError):
        return False
    return not (isinstance(content, dict) and {"recipes", "budgets"} & content.keys())


def _pipelines(top: Path) -> list[Path]:
    """Folders of a checkout whose `dvc.yaml` runs stages of ours beside a `params.yaml`, tracked by Git or new."""
    listed = Git(top).attempt(
        "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", f"*/{PIPELINE}", PIPELINE
    )
    files = sorted({top / name for name in listed.stdout.split("\0") if name})
    return [
        file.parent
        for file in files
        if (file.parent / PARAMS).is_file()
        and file.is_file()
        and COMMAND.search(file.read_text(encoding="utf-8", errors="replace"))
    ]
