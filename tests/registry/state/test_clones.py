"""Clones that are set up otherwise: line ends, sparse checkouts, depth, signing, another folder."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.registry import project as made
from tests.registry.project import MODEL, git
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.registry.lifecycle.gc import plan
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.asking import CannotAskError
from weighbridge.registry.lookup.resolve import resolve, stable_or_none
from weighbridge.registry.state.layout import AS_STORED, ATTRIBUTES
from weighbridge.registry.trust.audit import audit
from weighbridge.registry.trust.verify import verify_models
from weighbridge.registry.views import overview


def clone(project: Path, root: Path, *options: str) -> Path:
    """A clone of what is committed."""
    git(root.parent, *options, "clone", "-q", f"file://{project}", str(root))
    return root


def test_a_clone_with_other_line_ends_reads_the_registry(promoted: Path, tmp_path: Path) -> None:
    """With core.autocrlf, git's default on Windows: the registry's own attributes keep its bytes."""
    root = clone(promoted, tmp_path / "windows", "-c", "core.autocrlf=true")
    assert (root / ATTRIBUTES).read_bytes() == AS_STORED
    assert verify_models(root)[0].stable == "v2"
    assert resolve(root, MODEL).version == "v2"


def test_without_the_attributes_that_clone_cannot_be_read(promoted: Path, tmp_path: Path) -> None:
    """What the attributes are for: the same clone without them has other bytes, and verifying says so."""
    git(promoted, "rm", "-q", ATTRIBUTES)
    git(promoted, "commit", "-qm", "lose the attributes")
    root = clone(promoted, tmp_path / "windows", "-c", "core.autocrlf=true")
    with pytest.raises(IntegrityError, match="is not the record that event 1 names"):
        verify_models(root)


def test_the_attributes_are_written_once(promoted: Path) -> None:
    """By the first change of the registry, and by no later one."""
    changed = git(promoted, "log", "--format=%s", "--", ATTRIBUTES).splitlines()
    assert len(changed) == 1


def test_a_clone_of_depth_one_serves_and_verifies(promoted: Path, tmp_path: Path) -> None:
    """All that is served is in the last commit."""
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{promoted}", "shallow")
    assert audit(tmp_path / "shallow")[0].stable == "v2"
    assert resolve(tmp_path / "shallow", MODEL).version == "v2"
    assert overview.history(tmp_path / "shallow", MODEL)


@pytest.mark.parametrize("ask", [audit, overview.models, plan, lambda root: stable_or_none(root, MODEL)])
def test_a_sparse_checkout_is_not_an_empty_registry(promoted: Path, tmp_path: Path, ask: Any) -> None:
    """The models are in HEAD, and the working tree does not show them: refused, with the command that helps."""
    git(tmp_path, "clone", "-q", "--no-checkout", f"file://{promoted}", "sparse")
    root = tmp_path / "sparse"
    git(root, "sparse-checkout", "set", "--no-cone", "/*", "!/registry/")
    git(root, "checkout", "-q", "main")
    with pytest.raises(StateError, match=r"sparse checkout.*sparse-checkout add registry"):
        ask(root)


def test_a_single_model_that_is_left_out_is_missed_too(promoted: Path, tmp_path: Path) -> None:
    """One model's folder is gone from the working tree, others are there."""
    (promoted / "registry/models/other").mkdir()
    for path in (promoted / "registry/models" / MODEL).rglob("*.yaml"):
        path.unlink()
    (promoted / "registry/models" / MODEL).rename(tmp_path / "moved")
    with pytest.raises(StateError, match="git restore registry"):
        overview.models(promoted)


def test_another_folder_is_not_an_empty_registry(promoted: Path, tmp_path: Path) -> None:
    """A folder of another kind, and a folder within the repository: each is named, with the one to use."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(StateError, match="neither a registry nor a Weighbridge project"):
        overview.models(elsewhere)
    (promoted / ".dvc").mkdir(exist_ok=True)
    (promoted / "docs").mkdir()
    with pytest.raises(StateError, match="--root"):
        overview.models(promoted / "docs")


def test_commits_are_signed_where_git_is_told_to(project: Path, tmp_path: Path) -> None:
    """commit.gpgSign holds for the registry's commits as for any other."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    for name, value in (("gpg.format", "ssh"), ("user.signingkey", f"{key}.pub"), ("commit.gpgsign", "true")):
        git(project, "config", name, value)
    promote(project, PromotionRequest("int8"))
    assert "gpgsig -----BEGIN SSH SIGNATURE-----" in git(project, "cat-file", "commit", "HEAD")


def test_a_signature_that_cannot_be_made_changes_nothing(project: Path, tmp_path: Path) -> None:
    """A key that is missing is one clear error, and there is no commit."""
    before = git(project, "rev-parse", "HEAD")
    for name, value in (("gpg.format", "ssh"), ("user.signingkey", str(tmp_path / "no")), ("commit.gpgsign", "true")):
        git(project, "config", name, value)
    with pytest.raises(StateError, match="commit-tree failed"):
        promote(project, PromotionRequest("int8"))
    assert git(project, "rev-parse", "HEAD") == before


def test_commits_are_not_signed_where_nobody_asks(project: Path) -> None:
    """No key is looked for where git is not told to sign."""
    promote(project, PromotionRequest("int8"))
    assert "gpgsig" not in git(project, "cat-file", "commit", "HEAD")


def locked(root: Path, folder: str, data: bytes, name: str = "out") -> str:
    """A project's lock file that names an object, which DVC's cache has."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    md5 = made._md5(data)
    made.cache(root, md5, data)
    (root / folder / "dvc.lock").write_text(
        f"schema: '2.0'\nstages: {{s: {{cmd: x, outs: [{{path: {name}, md5: {md5}}}]}}}}\n"
    )
    return md5


def test_what_any_project_at_any_ref_names_is_kept(promoted: Path) -> None:
    """The second model's lock file, one on another branch, one behind a tag, data under `dvc add`."""
    kept = [locked(promoted, "models/b", b"second model")]
    git(promoted, "add", "-A")
    git(promoted, "commit", "-qm", "second")
    git(promoted, "switch", "-qc", "feature")
    kept.append(locked(promoted, "models/b", b"on a branch"))
    git(promoted, "commit", "-qam", "branch")
    kept.append(locked(promoted, "models/b", b"behind a tag"))
    git(promoted, "commit", "-qam", "tag")
    git(promoted, "tag", "old")
    git(promoted, "reset", "-q", "--hard", "HEAD^")
    git(promoted, "switch", "-q", "main")
    kept.append(made._md5(b"data"))
    made.cache(promoted, kept[-1], b"data")
    (promoted / "data.csv.dvc").write_text(f"outs: [{{path: data.csv, md5: {kept[-1]}}}]\n")
    made.cache(promoted, loose := made._md5(b"named by nothing"), b"named by nothing")
    rows = {row.md5: row for row in plan(promoted)}
    assert all(rows[md5].keep for md5 in kept), {md5: rows[md5].why for md5 in kept}
    assert not rows[loose].keep


def test_a_plan_for_the_remote_lists_the_remote(promoted: Path, tmp_path: Path) -> None:
    """A folder that several clones share; one that is not mounted is an error, never an empty plan."""
    (promoted / ".dvc/config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path / 'store'}\n")
    with pytest.raises(CannotAskError):
        plan(promoted, remote=True)
    (tmp_path / "store/files/md5/ab").mkdir(parents=True)
    (tmp_path / "store/files/md5/ab" / ("c" * 30)).write_bytes(b"x")
    assert [(row.md5, row.keep) for row in plan(promoted, remote=True)] == [("ab" + "c" * 30, False)]
