"""One change as one commit, made without touching the working tree until the commit stands.

A commit is the atom. It is built with git's plumbing on a private index; one compare-and-swap of a ref makes it so
(`git push`, or `git update-ref` with the expected old value). Only then the working tree follows, by renames, from a
journal: whatever is killed in between, the next command finishes (`recover`). `channels.yaml` is moved last, so a
reader of the working tree sees the state before or after, never between.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weighbridge.core.errors import StateError
from weighbridge.core.file_lock import lock_taken
from weighbridge.core.files import atomic_write
from weighbridge.core.git import Git
from weighbridge.registry.state.layout import CHANNELS

_PLAIN = ("100644", "100755")
_AT_ONCE = 50
"""Files that are held in memory together."""


@dataclass(frozen=True)
class Changed:
    """One file that differs between two commits; ids are blobs, None where there is no file."""

    path: str
    old: str | None
    new: str | None
    mode: str
    """Of the new file, as git writes it; `000000` where there is none."""
    plain: bool
    """Whether both sides are regular files: links and submodules are left to git and the user."""


def workshop(git: Git) -> Path:
    """The folder inside the git folder for lock, journal and private indexes. Never part of a commit."""
    folder = git.folder() / "weighbridge"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def locked(git: Git, seconds: float, sleep: Callable[[float], None] = time.sleep) -> Iterator[int]:
    """Hold this clone's lock, and give its descriptor; wait for another process up to `seconds`, then a `StateError`.

    The kernel frees the lock when the process that holds it has died, and every process that inherited it.
    """
    with (workshop(git) / "lock").open("w") as file:
        waited = 0.0
        while not lock_taken(file):
            if waited >= seconds:
                raise StateError(
                    f"timed out after {seconds:g} s waiting for another registry command in this clone",
                    where=str(git.root),
                )
            sleep(0.05)
            waited += 0.05
        yield file.fileno()


def build(git: Git, base: str, files: Mapping[str, bytes], message: str, *, replaces: str | None = None) -> str:
    """A commit on top of `base` that adds or replaces `files` (paths from the repository's top); its id.

    Writes objects only: until a ref names it, the commit is invisible. `replaces` is the one path that may
    exist in `base`; any other that does is a `StateError`.
    """
    paths = sorted(files)
    taken = git.present(base, [path for path in paths if path != replaces])
    if taken:
        raise StateError("already exists; the registry never overwrites a file", where=min(taken))
    with tempfile.TemporaryDirectory(dir=workshop(git), prefix="build-") as folder:
        blobs = git.write_blobs(_written([files[path] for path in paths], Path(folder)))
        lines = [f"100644 {blob}\t{path}\n" for blob, path in zip(blobs, paths, strict=True)]
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.run("read-tree", base, env=index)
        git.run("update-index", "--add", "--index-info", stdin="".join(lines), env=index)
        tree = git.run("write-tree", env=index)
    return git.run("commit-tree", *_signing(git), tree, "-p", base, stdin=message)


def _signing(git: Git) -> tuple[str, ...]:
    """`commit-tree` signs only where it is told to, whatever `commit.gpgSign` says; a branch may require signatures."""
    wanted = git.attempt("config", "--type=bool", "--get", "commit.gpgSign")
    if wanted.returncode not in (0, 1):
        said = (wanted.stderr.strip() or "no message").splitlines()[-1]
        raise StateError(f"git config commit.gpgSign cannot be read: {said}", where=str(git.root))
    return ("--gpg-sign",) if wanted.stdout.strip() == "true" else ()


def _written(contents: Sequence[bytes], folder: Path) -> list[Path]:
    """Contents as files of a private folder."""
    files = [folder / str(position) for position in range(len(contents))]
    try:
        for file, data in zip(files, contents, strict=True):
            file.write_bytes(data)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    return files


def advance(git: Git, ref: str, old: str, new: str, *, lock: int) -> str | None:
    """Move the local branch and what is checked out from `old` to `new`, which contains it.

    The git that moves the branch outlives this process if that is killed, so it inherits the `lock`: the next command
    waits for it before it looks where the branch is. Returns None when done, or why the working tree was left alone
    (then nothing local has changed). A `StateError` where `ref` no longer is at `old`.
    """
    changes = differences(git, old, new)
    obstacle = _obstacle(git, changes)
    if obstacle:
        return obstacle
    journal = workshop(git) / "journal.json"
    with tempfile.TemporaryDirectory(dir=workshop(git), prefix="stage-") as folder:
        # Space is taken before the commit becomes real: after that, there are renames only.
        staged = _stage(git, changes, Path(folder))
        index = _next_index(git, changes, Path(folder))
        atomic_write(journal, json.dumps({"ref": ref, "old": old, "new": new}).encode())
        try:
            move = ("update-ref", "--no-deref", "-m", "weighbridge: registry", ref, new, old)
            git.run(*move, keep_open=(lock,))
        except StateError:
            journal.unlink()
            raise
        _check_out(git, changes, staged)
        _install_index(git, index)
    journal.unlink()
    return None


def recover(git: Git) -> bool:
    """Finish what a killed command had begun; whether there was anything. Call with the lock held."""
    folder = workshop(git)
    journal = folder / "journal.json"
    for left in (*folder.glob("build-*"), *folder.glob("stage-*")):
        shutil.rmtree(left, ignore_errors=True)
    if not journal.exists():
        return False
    noted = json.loads(journal.read_text())
    if git.commit_of(noted["ref"]) == noted["new"]:
        changes = differences(git, noted["old"], noted["new"])
        _finish_index_lock(git)
        with tempfile.TemporaryDirectory(dir=folder, prefix="stage-") as stage:
            on_disk = _content_ids(git, [change.path for change in changes])
            ours = [change for change in changes if on_disk[change.path] in (change.old, None)]
            staged = _stage(git, ours, Path(stage))
            index = _next_index(git, changes, Path(stage))
            _check_out(git, ours, staged)
            _install_index(git, index)
    journal.unlink()
    return True


def differences(git: Git, old: str, new: str) -> list[Changed]:
    """Files that differ between two commits; channel files last."""
    listing = git.run("diff-tree", "-r", "-z", "--no-renames", old, new).split("\0")
    found = []
    for facts, path in zip(listing[::2], listing[1::2], strict=False):
        old_mode, new_mode, old_id, new_id, _ = facts.lstrip(":").split()
        plain = all(mode in _PLAIN or set(mode) == {"0"} for mode in (old_mode, new_mode))
        found.append(Changed(path, _id(old_id), _id(new_id), new_mode, plain))
    return sorted(found, key=lambda change: (change.path.endswith(f"/{CHANNELS}"), change.path))


def _id(text: str) -> str | None:
    return None if set(text) == {"0"} else text


def _content_ids(git: Git, paths: list[str]) -> dict[str, str | None]:
    """The blobs that the working tree's files would be; None where there is no file."""
    top = git.top()
    found: dict[str, str | None] = dict.fromkeys(paths)
    regular = []
    for path in paths:
        if (top / path).is_symlink() or (top / path).is_dir():
            found[path] = "irregular"
        elif (top / path).exists():
            regular.append(path)
    if regular:
        names = "\n".join(regular) + "\n"
        ids = git.run("-C", str(top), "hash-object", "--stdin-paths", stdin=names).split()
        found.update(zip(regular, ids, strict=True))
    return found


def _obstacle(git: Git, changes: list[Changed]) -> str | None:
    """Why the working tree cannot follow, if it cannot."""
    for change in changes:
        if not change.plain:
            return f"{change.path} is a link or a submodule"
    paths = [change.path for change in changes]
    in_index, on_disk = _index_ids(git, paths), _content_ids(git, paths)
    for change in changes:
        if in_index.get(change.path) != change.old:
            return f"{change.path} has staged changes"
        if on_disk[change.path] != change.old:
            return f"{change.path} has local changes"
    return None


def _index_ids(git: Git, paths: list[str]) -> dict[str, str]:
    if not paths:
        return {}
    listing = git.run("-C", str(git.top()), "ls-files", "-s", "-z", "--", *(f":(literal){path}" for path in paths))
    entries = (line.partition("\t") for line in listing.split("\0") if line)
    return {path: facts.split()[1] for facts, _, path in entries}


def _stage(git: Git, changes: list[Changed], folder: Path) -> dict[str, Path]:
    """Write the new contents beside the lock, ready to be renamed."""
    staged = {}
    added = [change for change in changes if change.new is not None]
    for start in range(0, len(added), _AT_ONCE):
        group = added[start : start + _AT_ONCE]
        contents = git.objects([str(change.new) for change in group])
        for position, (change, data) in enumerate(zip(group, contents, strict=True), start):
            target = folder / str(position)
            atomic_write(target, data)
            if change.mode == "100755":
                target.chmod(target.stat().st_mode | 0o111)
            staged[change.path] = target
    return staged


def _check_out(git: Git, changes: list[Changed], staged: Mapping[str, Path]) -> None:
    top = git.top()
    try:
        for change in changes:
            target = top / change.path
            if change.new is None:
                target.unlink(missing_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            staged[change.path].replace(target)
    except OSError as error:
        raise StateError(
            f"the change is committed, but the working tree could not follow: {error.strerror}",
            where=str(top),
            fix="fix that and run any registry command: it finishes the work",
        ) from error


def _next_index(git: Git, changes: list[Changed], folder: Path) -> Path:
    """A copy of the index in which the changes are done."""
    index = folder / "index"
    current = git.folder() / "index"
    try:
        if current.exists():
            shutil.copyfile(current, index)
    except OSError as error:
        raise StateError(f"cannot be copied: {error.strerror}", where=str(current)) from error
    lines = [
        f"{change.mode} {change.new}\t{change.path}" if change.new else f"0 {'0' * len(str(change.old))}\t{change.path}"
        for change in changes
    ]
    git.run("update-index", "--add", "--index-info", stdin="\n".join(lines) + "\n", env={"GIT_INDEX_FILE": str(index)})
    return index


def _install_index(git: Git, index: Path) -> None:
    """Put the new index in place under git's own lock file. A busy index is left as it is: git status will show it."""
    lock = git.folder() / "index.lock"
    mark = workshop(git) / "index.inode"
    mark.write_text(str(index.stat().st_ino))
    for _ in range(100):
        try:
            os.link(index, lock)
        except FileExistsError:
            time.sleep(0.05)
        else:
            lock.replace(git.folder() / "index")
            break
    mark.unlink()


def _finish_index_lock(git: Git) -> None:
    """Remove a lock on the index that this program left when it was killed, and no other's."""
    lock = git.folder() / "index.lock"
    mark = workshop(git) / "index.inode"
    if mark.exists():
        if lock.exists() and mark.read_text() == str(lock.stat().st_ino):
            lock.unlink()
        mark.unlink()
