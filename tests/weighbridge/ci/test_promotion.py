"""From the gate's evidence to the registry; the pipeline's results are made by the test, DVC is a stand-in."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry.project import MODEL, git, identify, make_repository, write_run
from weighbridge.ci.evidence_bundle import EvidenceBundle, pack
from weighbridge.ci.promotion import Choice, Promoted, promote_all
from weighbridge.core.documents import Measurement, Params
from weighbridge.core.dvc_files import MEASUREMENTS, measurement_name
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.git import Git
from weighbridge.gate.verdict.judge import judge
from weighbridge.registry.lifecycle.kept import read_kept
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.registry.lookup.location import local_remote, locate
from weighbridge.registry.lookup.measurements import fetch_measurement
from weighbridge.registry.lookup.resolve import resolve
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.records import VersionRecord
from weighbridge.registry.state.tip import Settings
from weighbridge.registry.trust.verify import verify_models

IGNORED = "/artifacts/\n/measurements/\n/reports/\n.weighbridge/\n/.dvc/cache/\n"


@pytest.fixture
def dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
def clone(tmp_path: Path) -> tuple[Git, Path]:
    """A clone with two projects, pushed, as the promoting job finds it; and the evidence of a gate that passed both."""
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", origin], check=True)
    work = make_repository(tmp_path / "work")
    (work / ".gitignore").write_text(IGNORED)
    (work / ".dvc").mkdir()
    (work / ".dvc/config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path}/remote\n")
    project = work / "models/one"
    project.mkdir(parents=True)
    (project / ".gitignore").write_text(IGNORED)
    (project / "dvc.yaml").write_text(
        "stages:\n  judge:\n    cmd: weighbridge stage judge\n    outs: [reports/verdict.json]\n"
    )
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


def promote(clone: tuple[Git, Path], **choice: str) -> list[Promoted]:
    return promote_all(clone[0], clone[1], Choice(**choice), None)


def tip(clone: tuple[Git, Path]) -> str:
    return git(clone[0].root, "ls-remote", "origin", "main").split()[0]


def test_what_passed_is_shared_recorded_and_pushed_once(clone: tuple[Git, Path], dvc: Path) -> None:
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
    everything = "artifacts/baseline/onnxruntime artifacts/recipes/int8 artifacts/recipes/fp16 measurements/int8"
    assert (dvc / "asked").read_text().startswith(f"push --quiet {everything}")


def test_the_same_evidence_twice_is_one_version(clone: tuple[Git, Path], dvc: Path) -> None:
    """A run that is started again finds its own work done."""
    promote(clone)
    before = tip(clone)
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])
    [again] = promote(clone)
    assert again.version is None
    assert "stable already" in again.reason
    assert tip(clone) == before


def test_a_lock_without_a_version_is_recorded(clone: tuple[Git, Path], dvc: Path) -> None:
    """A limit was tightened: nothing new to promote, and the next change starts from what was judged."""
    promote(clone)
    source = clone[1] / "models/one"
    lock = yaml.safe_load((source / "dvc.lock").read_text())
    lock["stages"]["all"]["cmd"] = "y"
    (source / "dvc.lock").write_text(yaml.safe_dump(lock))
    before = tip(clone)
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])
    [again] = promote(clone)
    assert again.version is None
    assert tip(clone) != before
    root = clone[0].root
    git(root, "fetch", "--quiet", "origin")
    assert git(root, "diff", "--name-only", before, "origin/main") == "models/one/dvc.lock"
    assert clone[0].dirty() == []
    after = tip(clone)
    [same] = promote(clone)
    assert (same.version, tip(clone)) == (None, after)


def test_measurements_reach_the_remote_by_what_they_are_about(clone: tuple[Git, Path], dvc: Path) -> None:
    """Where another run of CI continues them."""
    root = clone[0].root
    promote(clone)
    found = list((local_remote(root) / MEASUREMENTS).rglob("*.json"))
    names = sorted(path.relative_to(local_remote(root)).as_posix() for path in found)
    source = clone[1] / "models/one/measurements"
    wanted = [Measurement.read(path).key() for path in source.rglob("*.json")]
    assert names == sorted(f"{MEASUREMENTS}/{measurement_name(key)}" for key in wanted)
    assert fetch_measurement(root, names[0]) == (local_remote(root) / names[0]).read_bytes()
    assert fetch_measurement(root, f"{MEASUREMENTS}/ab/c.json") is None


def push_commit(tmp_path: Path, name: str, content: str = "1", edit: Any = None) -> str:
    """Somebody pushes one commit to main: a file, or what `edit` does to a clone."""
    other = tmp_path / f"other-{len(list(tmp_path.iterdir()))}"
    subprocess.run(["git", "clone", "--quiet", tmp_path / "origin.git", other], check=True)
    identify(other)
    if edit is None:
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text(content)
    else:
        edit(other)
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "newer")
    git(other, "push", "--quiet")
    return git(other, "rev-parse", "HEAD")


def test_outputs_that_git_does_not_ignore_do_not_make_the_tree_dirty(clone: tuple[Git, Path], dvc: Path) -> None:
    """An author who never ran the pipeline has no line for them in .gitignore; a tracked one is put back."""
    root, source = clone[0].root, clone[1] / "models/one"
    (root / "models/one/metrics.json").write_text("old\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "a tracked metric")
    git(root, "push", "--quiet", "origin", "main")
    for name in ("metrics.json", "made by us.txt"):
        (source / name).write_text("new\n")
    lock = yaml.safe_load((source / "dvc.lock").read_text())
    md5 = hashlib.md5(b"new\n").hexdigest()
    lock["stages"]["all"]["outs"] += [{"path": name, "md5": md5} for name in ("metrics.json", "made by us.txt")]
    (source / "dvc.lock").write_text(yaml.safe_dump(lock))
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])
    [made] = promote(clone)
    assert made.version == "v1"
    assert clone[0].dirty() == []
    assert (root / "models/one/metrics.json").read_text() == "old\n"


def test_code_in_a_folder_that_is_called_like_the_registry_is_looked_at(
    clone: tuple[Git, Path], dvc: Path, tmp_path: Path
) -> None:
    """Only the registry's own folder is of no concern."""
    edit_text(clone[0].root / "models/one/dvc.yaml", "cmd:", "deps: [src/registry/models/net.py]\n    cmd:")
    (clone[0].root / "models/one/src/registry/models").mkdir(parents=True)
    (clone[0].root / "models/one/src/registry/models/net.py").write_text("a = 1\n")
    git(clone[0].root, "add", "--all", "--force", "models/one/src", "models/one/dvc.yaml")
    git(clone[0].root, "commit", "--quiet", "--message", "code")
    git(clone[0].root, "push", "--quiet", "origin", "main")
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])
    push_commit(tmp_path, "models/one/src/registry/models/net.py", "a = 2\n")
    [made] = promote(clone)
    assert made.state == "deferred"


@pytest.mark.parametrize("name", ["registry/models/other/notes.yaml", "README.md", "models/two/dvc.lock"])
def test_a_branch_that_moved_without_touching_the_model_is_promoted_on(
    clone: tuple[Git, Path], dvc: Path, tmp_path: Path, name: str
) -> None:
    """A registry commit, a page, another model's lock file: the version is made on the new tip, and nothing is lost."""
    newer = push_commit(tmp_path, name)
    [made] = promote(clone)
    assert (made.version, made.state, made.warn) == ("v1", "stable", False)
    git(clone[0].root, "merge-base", "--is-ancestor", newer, tip(clone))
    assert tip(clone) == clone[0].head()
    record = yaml.safe_load((clone[0].root / f"registry/models/{MODEL}/versions/v1.yaml").read_text())
    git(clone[0].root, "merge-base", "--is-ancestor", newer, record["commit"])


def test_a_branch_whose_model_has_changed_is_left_to_the_newer_run_and_says_so(
    clone: tuple[Git, Path], dvc: Path, tmp_path: Path
) -> None:
    """Nothing is pushed: what was weighed here is not what the branch holds now. That is a warning, never silence."""
    change = lambda root: edit_text(root / "models/one/params.yaml", "max: 1MB", "max: 2MB")  # noqa: E731
    before = push_commit(tmp_path, "", edit=change)
    [made] = promote(clone)
    assert (made.version, made.state, made.warn) == (None, "deferred", True)
    assert "params.yaml: budgets differs" in made.reason
    assert tip(clone) == before


def edit_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_somebody_who_pushes_while_the_version_is_built_costs_one_more_round(
    clone: tuple[Git, Path], dvc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision is taken again on the new tip; it is never rebased."""
    from weighbridge.ci import promotion

    real, pushed = promotion.share, []  # type: ignore[attr-defined]

    def slow(*arguments: Any) -> None:
        real(*arguments)
        if not pushed:
            pushed.append(push_commit(tmp_path, "README.md", "meanwhile"))

    monkeypatch.setattr(promotion, "share", slow)
    [made] = promote(clone)
    assert made.version == "v1"
    git(clone[0].root, "merge-base", "--is-ancestor", pushed[0], tip(clone))


def test_a_remote_that_was_rewound_is_refused(clone: tuple[Git, Path], dvc: Path, tmp_path: Path) -> None:
    """Nothing is decided on a history that lost commits."""
    newer = push_commit(tmp_path, "README.md")
    git(clone[0].root, "pull", "--quiet", "origin", "main")
    EvidenceBundle(newer, ("models/one",)).write(clone[1])
    git(tmp_path / "origin.git", "update-ref", "refs/heads/main", f"{newer}^")
    with pytest.raises(StateError, match="rewound"):
        promote(clone)


def test_the_best_that_is_not_quarantined_is_chosen(clone: tuple[Git, Path], dvc: Path) -> None:
    """The smallest was taken out of service; the next one that passed takes its place."""
    promote(clone)
    Operator(clone[0].root, MODEL, Settings()).roll_back(reason="bad", to="baseline", quarantine=True)
    [made] = promote(clone)
    assert (made.recipe, made.version) == ("fp16", "v2")
    Operator(clone[0].root, MODEL, Settings()).roll_back(reason="bad too", to="baseline", quarantine=True)
    [made] = promote(clone)
    assert (made.version, made.warn) == (None, True)
    assert "no recipe that passed can be promoted" in made.reason
    assert resolve(clone[0].root, f"{MODEL}@stable").version == "b1"


def with_policy(clone: tuple[Git, Path], text: str) -> None:
    """The evidence of a gate that passed with this registry policy."""
    root = clone[0].root
    (root / "registry.policy.yaml").write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "policy")
    git(root, "push", "--quiet", "origin", "main")
    EvidenceBundle(clone[0].head(), ("models/one",)).write(clone[1])


def test_the_policy_says_where_a_merge_goes(clone: tuple[Git, Path], dvc: Path) -> None:
    """`record` leaves stable alone; the first version is stable even where canaries are asked for."""
    with_policy(clone, "on_merge: record\n")
    [made] = promote(clone)
    assert (made.version, made.state) == ("v1", "recorded")
    channels = yaml.safe_load((clone[0].root / f"registry/models/{MODEL}/channels.yaml").read_text())
    assert "stable" not in channels


def test_a_merge_starts_a_canary_and_the_next_one_waits_for_its_end(clone: tuple[Git, Path], dvc: Path) -> None:
    """`on_merge: canary`: v1 is stable, for want of anything to compare with; v2 on canary; v3 recorded, and said."""
    with_policy(clone, "on_merge: canary\ncanary: {steps: [10, 100]}\n")
    assert [item.state for item in promote(clone, recipe="int8")] == ["stable"]
    assert [item.state for item in promote(clone, recipe="fp16")] == ["canary"]
    channels = yaml.safe_load((clone[0].root / f"registry/models/{MODEL}/channels.yaml").read_text())
    assert (channels["canary"]["version"], channels["canary"]["weight"]) == ("v2", 10.0)
    project = clone[0].root / "models/one"
    write_run(project, 2)
    git(clone[0].root, "checkout", "--quiet", "--", "models/one/params.yaml")
    shutil.rmtree(project / ".dvc", ignore_errors=True)
    shutil.rmtree(clone[1] / "models")
    pack(project, clone[1] / "models/one")
    git(clone[0].root, "checkout", "--quiet", ".")
    [made] = promote(clone, recipe="int8")
    assert (made.version, made.state, made.warn) == ("v3", "recorded", True)
    assert "v2 is on canary" in made.reason
    verify_models(clone[0].root, deep=True)


def test_verdict_and_measurements_stay_beside_the_record(clone: tuple[Git, Path], dvc: Path) -> None:
    """They are what the record names, they can be judged again, and one that is changed is found."""
    promote(clone)
    root = clone[0].root
    record = VersionRecord.model_validate(
        yaml.safe_load((root / f"registry/models/{MODEL}/versions/v1.yaml").read_text())
    )
    verdict, measurements = read_kept(WorkTree(root), record)
    [measurement] = measurements.values()
    budgets = Params.read(root / "models/one/params.yaml").budgets
    assert judge(measurement, budgets).content_digest() == verdict.recipes["int8"].content_digest()
    assert record.verdict.digest == verdict.recipes["int8"].content_digest()
    assert verify_models(root)
    kept = root / f"registry/models/{MODEL}/evidence/v1/verdict.json"
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match="not what the record of v1 names"):
        verify_models(root)
    kept.unlink()
    with pytest.raises(IntegrityError, match="the record of v1 names it"):
        verify_models(root)


def test_a_stranger_among_the_kept_files_is_found(clone: tuple[Git, Path], dvc: Path) -> None:
    """Only what a record names lies beside it."""
    promote(clone)
    (clone[0].root / f"registry/models/{MODEL}/evidence/v1/more.json").write_text("{}")
    with pytest.raises(IntegrityError, match="named by no event"):
        verify_models(clone[0].root)


def test_bytes_that_nobody_else_could_find_are_not_promoted(clone: tuple[Git, Path], dvc: Path) -> None:
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


def test_only_what_passed_is_promoted(clone: tuple[Git, Path], dvc: Path) -> None:
    """A recipe by name that is missing or did not pass is refused."""
    with pytest.raises(StateError, match="did not pass"):
        promote(clone, recipe="gone")


def test_evidence_that_was_tampered_with_is_refused(clone: tuple[Git, Path], dvc: Path) -> None:
    """One byte of an artifact, and nothing is recorded."""
    before = tip(clone)
    path = next((clone[1] / "models/one/artifacts/recipes/int8/onnxruntime").glob("*.onnx"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="digest"):
        promote(clone)
    assert tip(clone) == before
