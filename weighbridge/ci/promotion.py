"""What the gate passed → the registry: bytes shared, record signed, one push that is refused if anybody was faster."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weighbridge.ci.evidence_bundle import EvidenceBundle, inside, unpack
from weighbridge.ci.judging_again import judge_again
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.files import read_bytes
from weighbridge.core.git import Git
from weighbridge.core.project import LOCK
from weighbridge.registry.lifecycle.evidence import gather
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lifecycle.selection import first_verdict, passing, read_verdict, select
from weighbridge.registry.lookup.location import cache_folder, has_remote
from weighbridge.registry.lookup.resolve import resolve_all, stable_or_none
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.signing import PrivateKey, Signer, load_private_key


@dataclass(frozen=True)
class Promoted:
    """What became of one project's evidence."""

    model: str
    recipe: str
    version: str | None
    """The new version; None where nothing was promoted."""
    reason: str


@dataclass(frozen=True)
class Choice:
    """Which recipe of those that passed is promoted."""

    recipe: str | None = None
    by: str = "smallest"


def promote_all(git: Git, evidence: Path, choice: Choice, key: Signer | None) -> list[Promoted]:
    """Promote what the gate weighed and passed at this very commit, then push once.

    Raises `StateError` where the evidence speaks of another commit, the tree is dirty, there is no DVC remote to hold
    the bytes, or the remote branch has moved on; in none of these cases anything was pushed.
    """
    handed = EvidenceBundle.read(evidence)
    head = git.head()
    if handed.commit != head:
        raise StateError(f"is for commit {handed.commit[:12]}, not for {head[:12]}", where=str(evidence))
    if git.dirty():
        raise StateError(f"the tree is dirty: {git.dirty()[0]}", fix="promote from a clean checkout")
    found = [_promote_project(git, evidence, project, choice, key) for project in handed.weighed]
    if any(item.version for item in found):
        _push(git)
    return found


def _promote_project(git: Git, evidence: Path, project: str, choice: Choice, key: Signer | None) -> Promoted:
    root, source = inside(git.root, project), inside(evidence, project)
    unpack(source, root)
    gate, _ = read_verdict(root)
    recipe = choice.recipe or select(root, choice.by)
    if recipe not in passing(gate):
        raise StateError(f"{recipe!r} did not pass", where=str(source / "reports/verdict.json"))
    digest = first_verdict(gate, recipe).candidate.digest
    known = _known(git, gate.model, digest)
    if known:
        git.run("checkout", "--quiet", "--", str(root / LOCK))
        return Promoted(gate.model, recipe, None, known)
    gathered = gather(root, recipe)
    judge_again(git, root, recipe)
    baselines = [str(Path(built.path).parent) for built in gathered.baselines]
    _share(git, root, [f"artifacts/recipes/{recipe}", *baselines])
    lock = os.path.relpath(root / LOCK, git.root)
    if git.dirty():
        git.run("add", "--", lock)
        git.run("commit", "--quiet", "--message", f"{gate.model}: record what the gate weighed at {git.head()[:12]}")
    committed = promote(root, PromotionRequest(recipe), settings=Settings(push=False), key=key)
    return Promoted(gate.model, recipe, committed.event.records[-1].version, "promoted")


def _known(git: Git, model: str, digest: str) -> str | None:
    """Why these bytes are not promoted again, if the registry knows them already."""
    served = stable_or_none(git.root, model)
    if served is not None and served.digest == digest:
        return f"these bytes are stable already, as {model}@{served.version}"
    try:
        version = resolve_all(git.root, f"{model}@{digest}")[0]
    except StateError:
        return None
    state = "quarantined" if version.quarantined else "already a version, and no longer stable"
    return f"these bytes are {model}@{version.version}, {state}"


def _share(git: Git, root: Path, folders: list[str]) -> None:
    """Put the artifacts' bytes into DVC's cache under the names that `dvc.lock` has for them, and push them."""
    if not has_remote(git.root):
        raise StateError(
            "there is no DVC remote, so the bytes of a promoted version would be lost with this machine",
            where=".dvc/config",
            fix="dvc remote add --default NAME URL",
        )
    cache = cache_folder(git.root) / "files" / "md5"
    for folder in folders:
        _cache_folder(root / folder, cache)
    done = subprocess.run(["dvc", "push", "--quiet", *folders], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise StateError(f"dvc push failed: {said}", where=str(root), fix="can this job write to the DVC remote?")


def _cache_folder(folder: Path, cache: Path) -> None:
    """A folder as DVC keeps it: every file by its md5, and the list of them by its own."""
    entries = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = read_bytes(file)
        entries.append({"md5": _store(data, cache, ""), "relpath": file.relative_to(folder).as_posix()})
    entries.sort(key=lambda entry: entry["relpath"])
    _store(json.dumps(entries, sort_keys=True).encode(), cache, ".dir")


def _store(data: bytes, cache: Path, suffix: str) -> str:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = cache / md5[:2] / f"{md5[2:]}{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return md5


def _push(git: Git) -> None:
    branch = git.branch()
    if branch is None:
        raise StateError("HEAD is on no branch", fix="check out the branch that carries the registry")
    done = git.attempt("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    if done.returncode != 0:
        said = " ".join(done.stderr.split())
        if "rejected" in said or "failed to update ref" in said or "cannot lock ref" in said:
            raise OvertakenError(f"{branch} has moved on; the run for its newest commit promotes", where="origin")
        raise StateError(f"origin refused the push: {said[:300]}", fix="may this job write to the repository?")


class OvertakenError(StateError):
    """Somebody pushed to the branch meanwhile: what was decided here is decided anew by the newer run."""


@contextmanager
def signing_key(pem: str) -> Iterator[PrivateKey | None]:
    """The key in a secret's text; None where it is empty. It touches the disk in a private folder only."""
    if not pem.strip():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.touch(mode=0o600)
        path.write_text(pem.strip() + "\n")
        try:
            key = load_private_key(path)
        except InputError as error:
            raise InputError(error.what, where="WEIGHBRIDGE_SIGNING_KEY_PEM") from error
    yield key
