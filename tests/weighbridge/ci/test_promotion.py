"""From the gate's evidence to the registry; the pipeline's results are made by the test, DVC is a stand-in."""

import os
import shutil
import subprocess

import pytest

from tests.registry.project import MODEL, git, identify, make_repository, write_run
from weighbridge.ci.evidence_bundle import EvidenceBundle, pack
from weighbridge.ci.promotion import Choice, OvertakenError, promote_all
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.git import Git
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lookup.location import locate
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.tip import Settings

IGNORED = "/artifacts/\n/measurements/\n/reports/\n.weighbridge/\n/.dvc/cache/\n"


@pytest.fixture
def dvc(tmp_path, monkeypatch):
    """A `dvc` that notes what it was asked, and fails if told so."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "dvc"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\n[ ! -e {folder}/broken ] || {{ echo denied >&2; exit 1; }}\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def clone(tmp_path):
    """A clone with two projects, pushed, as the promoting job finds it; and the evidence of a gate that passed both."""
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", origin], check=True)
    work = make_repository(tmp_path / "work")
    (work / ".gitignore").write_text(IGNORED)
    (work / ".dvc").mkdir()
    (work / ".dvc/config").write_text("[core]\n    remote = r\n['remote \"r\"']\n    url = s3://bucket\n")
    project = work / "models/one"
    project.mkdir(parents=True)
    (project / ".gitignore").write_text(IGNORED)
    write_run(project)
    shutil.rmtree(project / ".dvc", ignore_errors=True)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "one model")
    git(work, "remote", "add", "origin", str(origin))
    git(work, "push", "--quiet", "origin", "main")
    made = Git(work)
    evidence = tmp_path / "evidence"
    pack(project, evidence / "models/one")
    EvidenceBundle(made.head(), ("models/one",)).write(evidence)
    for name in ("artifacts", "measurements", "reports"):
        shutil.rmtree(project / name)
    return made, evidence


def promote(clone, **choice):
    return promote_all(clone[0], clone[1], Choice(**choice), None)


def tip(clone):
    return git(clone[0].root, "ls-remote", "origin", "main").split()[0]


def test_what_passed_is_shared_recorded_and_pushed_once(clone, dvc):
    """One registry at the top, though the model has a folder of its own; its bytes are found from there."""
    top = clone[0].root
    found = promote(clone)
    assert [(item.model, item.recipe, item.version) for item in found] == [(MODEL, "int8", "v1")]
    assert tip(clone) == clone[0].head()
    assert clone[0].dirty() == []
    resolved = resolve(top, f"{MODEL}@stable")
    assert resolved.path.startswith("models/one/artifacts/recipes/int8/")
    assert locate(top, resolved).is_file()
    shutil.rmtree(top / "models/one/artifacts")
    assert ".dvc/cache" in str(locate(top, resolved))
    assert (dvc / "asked").read_text().startswith("push --quiet artifacts/recipes/int8")


def test_the_same_evidence_twice_is_one_version(clone, dvc):
    """A run that is started again finds its own work done."""
    promote(clone)
    before = tip(clone)
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])
    [again] = promote(clone)
    assert again.version is None
    assert "stable already" in again.reason
    assert tip(clone) == before


def test_what_was_rolled_back_is_not_promoted_again(clone, dvc):
    """The next merge leaves quarantined bytes alone, says so, and is no failure."""
    promote(clone)
    Operator(clone[0].root, MODEL, Settings()).roll_back(reason="bad", to="baseline", quarantine=True)
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])
    [again] = promote(clone)
    assert again.version is None
    assert "quarantined" in again.reason
    assert resolve(clone[0].root, f"{MODEL}@stable").version == "b1"


def test_a_branch_that_has_moved_on_is_left_to_the_newer_run(clone, dvc, tmp_path):
    """Nothing is pushed: what was weighed here is not what the branch holds now."""
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "--quiet", tmp_path / "origin.git", other], check=True)
    identify(other)
    (other / "news").write_text("1")
    git(other, "add", "news")
    git(other, "commit", "--quiet", "--message", "newer")
    git(other, "push", "--quiet")
    before = tip(clone)
    with pytest.raises(OvertakenError, match="moved on"):
        promote(clone)
    assert tip(clone) == before


def test_bytes_that_nobody_else_could_find_are_not_promoted(clone, dvc):
    """No remote, or one that does not take them: nothing is recorded, nothing pushed."""
    before = tip(clone)
    (dvc / "broken").touch()
    with pytest.raises(StateError, match="dvc push failed: denied"):
        promote(clone)
    (clone[0].root / ".dvc/config").write_text("")
    git(clone[0].root, "commit", "--quiet", "--all", "--message", "no remote")
    git(clone[0].root, "push", "--quiet", "origin", "main")
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])
    with pytest.raises(StateError, match="no DVC remote"):
        promote(clone)
    assert not (clone[0].root / "registry/models").exists()
    assert before != tip(clone) == clone[0].head()


def test_only_what_passed_is_promoted(clone, dvc):
    """A recipe by name that is not there or did not pass is refused."""
    with pytest.raises(StateError, match="did not pass"):
        promote(clone, recipe="gone")


def test_evidence_that_was_tampered_with_is_refused(clone, dvc):
    """One byte of an artifact, and nothing is recorded."""
    before = tip(clone)
    path = next((clone[1] / "models/one/artifacts/recipes/int8/onnxruntime").glob("*.onnx"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="digest"):
        promote(clone)
    assert tip(clone) == before
