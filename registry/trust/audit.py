"""`registry verify`: the tree as it lies, and that history only grew since a trusted commit."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from weighbridge.core.errors import InputError, IntegrityError
from weighbridge.core.files import atomic_write
from weighbridge.core.git import Git
from weighbridge.registry.state import commit as commits
from weighbridge.registry.state.layout import CHANNELS, MODELS
from weighbridge.registry.state.store import Store
from weighbridge.registry.trust.verify import CheckedRegistry, verify_models


def audit(
    root: Path,
    *,
    models: list[str] | None = None,
    since: str | None = None,
    now: datetime | None = None,
    deep: bool = False,
) -> list[CheckedRegistry]:
    """Verify the working tree (see `verify.verify_models`), then that it only grew since a trusted commit:
    `since`, or the last one that this clone verified, which is moved on at the end. Any defect is an error.
    """
    Store(root).repair()
    git = Git(root)
    checked = verify_models(root, models=models, now=now, deep=deep)
    trusted = _trusted(git, since)
    if trusted is not None:
        only_grew(git, trusted)
    if models is None and git.commit_of("HEAD") and not git.dirty(MODELS):
        mark = {"commit": git.head()}
        atomic_write(commits.workshop(git) / "verified.json", json.dumps(mark).encode())
    return checked


def only_grew(git: Git, trusted: str) -> None:
    """Nothing but channels may have changed since `trusted`, and nothing may have gone: an `IntegrityError` otherwise.

    Compared with the working tree, so that what is not committed counts too.
    """
    if not git.is_ancestor(trusted, "HEAD"):
        raise IntegrityError(
            f"history was rewritten: {trusted[:12]}, which was verified before, is not part of it", where=MODELS
        )
    listing = git.run("diff", "--name-status", "--no-renames", "-z", trusted, "--", MODELS).rstrip("\0").split("\0")
    for status, path in zip(listing[::2], listing[1::2], strict=False):
        if status == "A" or (status == "M" and path.endswith(f"/{CHANNELS}")):
            continue
        what = "is gone" if status == "D" else "was changed"
        raise IntegrityError(f"{what} since {trusted[:12]}: the registry only grows", where=path)


def _trusted(git: Git, since: str | None) -> str | None:
    if since is not None:
        found = git.commit_of(since)
        if found is None:
            raise InputError(f"{since!r} is not a commit of this clone", where="--since", fix="fetch the full history")
        return found
    mark = commits.workshop(git) / "verified.json"
    if not mark.exists():
        return None
    noted = str(json.loads(mark.read_text())["commit"])
    found = git.commit_of(noted)
    if found is None:
        raise IntegrityError(f"history was rewritten: {noted[:12]}, which was verified before, is gone", where=MODELS)
    return found
