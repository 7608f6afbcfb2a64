"""The bridge to GTO: the same versions and stages, by the real GTO, after a roll-back too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import gto.api
import pytest
from gto.tag import parse_name

from tests.registry.publish.project import Project, git
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.registry.publish import tags
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.snapshot import read_model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Self:
    """A project with a history that has a canary and a roll-back."""
    return Project(tmp_path_factory.mktemp("tags") / "project").history()


@pytest.fixture
def project(made: Self, tmp_path: Path) -> Project:
    """A clone of it, so that tags may be broken."""
    git(tmp_path, "clone", "--quiet", str(made.root), "project")
    copy = object.__new__(Project)
    copy.__dict__.update(made.__dict__, root=tmp_path / "project")
    git(copy.root, "config", "user.name", "Registry Test")
    git(copy.root, "config", "user.email", "registry@example.org")
    return copy


def gto_show(root: Path, name: str) -> Any:
    """What GTO's command line says."""
    command = [sys.executable, "-c", "from gto.cli import app; app()", "show", name, "--json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def gto_in_stage(root: Path, name: str, stage: str) -> list[Any]:
    """What GTO's Python interface says."""
    found = gto.api.find_versions_in_stage(str(root), name, stage) or []
    return [version.version for version in found]


def test_gto_sees_what_the_channels_say(project: Project) -> None:
    """Stable, canary, and no trace of the quarantined version among the active ones."""
    tags.write(project.root, "fashion-cnn")
    assert gto_in_stage(project.root, "fashion-cnn", "stable") == ["v1.0.0"]
    assert gto_in_stage(project.root, "fashion-cnn", "canary") == ["v3.0.0"]
    [shown] = gto_show(project.root, "fashion-cnn#stable")
    assert shown["version"] == "v1.0.0"


def test_gtos_command_line_and_interface_agree_after_a_roll_back(project: Project) -> None:
    """A roll-back to the baseline is a version of its own there, and all of GTO's ways to ask name it."""
    project.move(EventKind.ROLLED_BACK, "b1", quarantine=True, reason="both are wrong")
    tags.write(project.root, "fashion-cnn")
    assert gto_in_stage(project.root, "fashion-cnn", "stable") == ["v0.0.1"]
    assert [item["version"] for item in gto_show(project.root, "fashion-cnn#stable")] == ["v0.0.1"]
    assert gto_in_stage(project.root, "fashion-cnn", "canary") == []
    assert tags.compare(project.root, "fashion-cnn")[1].missing == ()


def test_every_name_is_one_that_gto_reads(project: Project) -> None:
    """GTO's own parser understands every tag, and counts them in order."""
    compared = tags.write(project.root, "fashion-cnn")
    parsed = [parse_name(tag.name) for tag in compared.expected]
    assert [item["counter"] for item in parsed] == list(range(1, len(parsed) + 1))
    assert {item["name"] for item in parsed} == {"fashion-cnn"}


def test_git_accepts_the_objects_and_two_clones_write_the_same(project: Project, made: Self, tmp_path: Path) -> None:
    """A tag follows from its event: the same object everywhere, and one that fsck finds in order."""
    tags.write(project.root, "fashion-cnn")
    git(tmp_path, "clone", "--quiet", "--no-tags", str(made.root), "other")
    tags.write(tmp_path / "other", "fashion-cnn")
    listing = ("for-each-ref", "--format=%(refname) %(objectname) %(objecttype)", "refs/tags")
    assert git(project.root, *listing) == git(tmp_path / "other", *listing)
    assert {line.split()[2] for line in git(project.root, *listing).splitlines()} == {"tag"}
    git(project.root, "fsck", "--strict", "--no-dangling")


def test_writing_again_writes_nothing(project: Project) -> None:
    """What is there already stays as it is."""
    assert len(tags.write(project.root, "fashion-cnn").missing) == 12
    assert tags.write(project.root, "fashion-cnn").missing == ()
    tags.compare(project.root, "fashion-cnn")[1].require_same()


def test_only_what_is_new_is_written_after_a_change(project: Project) -> None:
    """Names of earlier tags never change: a new event adds its own."""
    before = tags.write(project.root, "fashion-cnn").expected
    project.move(EventKind.CANARY_ABORTED, "v3", quarantine=True, reason="slow")
    after = tags.write(project.root, "fashion-cnn")
    assert after.expected[: len(before)] == before
    assert [tag.name for tag in after.missing] == ["fashion-cnn#canary!#13", "fashion-cnn@v3.0.0!#14"]


def test_a_lifted_quarantine_registers_the_version_again(project: Project) -> None:
    """A version that may serve again is found again."""
    project.move(EventKind.QUARANTINE_LIFTED, "v2", reason="it was the labels")
    added = tags.write(project.root, "fashion-cnn").expected[-1]
    assert added.name == "fashion-cnn@v2.0.0#13"
    assert gto_show(project.root, "fashion-cnn@v2.0.0")[0]["version"] == "v2.0.0"


def test_missing_tags_fail_the_check(project: Project) -> None:
    """A check of a repository without tags is no success."""
    _, compared = tags.compare(project.root, "fashion-cnn")
    with pytest.raises(StateError, match=r"12 of 12 tags are missing.*fashion-cnn@v1\.0\.0#1"):
        compared.require_same()


@pytest.mark.parametrize("how", ["moved", "lightweight", "another message"])
def test_a_tag_that_is_not_the_historys_is_found_and_never_overwritten(project: Project, how: str) -> None:
    """Moved by hand, lightweight or rewritten: named by the check, left alone by the writing."""
    tags.write(project.root, "fashion-cnn")
    name = "fashion-cnn#stable#10"
    arguments = {"moved": ["HEAD"], "lightweight": [f"{name}^{{commit}}"], "another message": [f"{name}^{{commit}}"]}
    flags = [] if how == "lightweight" else ["-a", "-m", "by hand"]
    git(project.root, "tag", "--force", *flags, name, *arguments[how])
    was = git(project.root, "rev-parse", name)
    with pytest.raises(IntegrityError, match=r"tag fashion-cnn#stable#10: is not the tag"):
        tags.compare(project.root, "fashion-cnn")[1].require_same()
    with pytest.raises(IntegrityError):
        tags.write(project.root, "fashion-cnn")
    assert git(project.root, "rev-parse", name) == was


def test_a_tag_that_no_event_calls_for_is_found(project: Project) -> None:
    """`gto assign` beside the registry would be believed by GTO's users: it is named."""
    tags.write(project.root, "fashion-cnn")
    git(project.root, "tag", "-a", "-m", "sneaky", "fashion-cnn#stable#99", "HEAD")
    with pytest.raises(IntegrityError, match=r"fashion-cnn#stable#99: is required by no event"):
        tags.compare(project.root, "fashion-cnn")[1].require_same()


def test_tags_of_other_models_are_none_of_ours(project: Project) -> None:
    """A model's name may be the start of another's."""
    tags.write(project.root, "fashion-cnn")
    git(project.root, "tag", "-a", "-m", "other", "fashion-cnn2@v1.0.0", "HEAD")
    git(project.root, "tag", "release-1")
    tags.compare(project.root, "fashion-cnn")[1].require_same()


def test_tags_are_pushed_all_or_none(project: Project, tmp_path: Path) -> None:
    """A remote that has another tag of one name gets none of them."""
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(project.root, "remote", "add", "far", str(tmp_path / "remote.git"))
    git(project.root, "push", "--quiet", "far", "main")
    git(project.root, "tag", "fashion-cnn#stable#10", "HEAD")
    git(project.root, "push", "--quiet", "far", "refs/tags/fashion-cnn#stable#10")
    git(project.root, "tag", "-d", "fashion-cnn#stable#10")
    with pytest.raises(StateError, match="push failed"):
        tags.write(project.root, "fashion-cnn", push="far")
    assert git(tmp_path / "remote.git", "tag") == "fashion-cnn#stable#10"
    git(tmp_path / "remote.git", "tag", "-d", "fashion-cnn#stable#10")
    tags.write(project.root, "fashion-cnn", push="far")
    assert len(git(tmp_path / "remote.git", "tag").splitlines()) == 12


def test_a_shallow_clone_is_told_to_fetch_more(made: Self, tmp_path: Path) -> None:
    """Without the commits there is nothing to tag, and guessing would tag the wrong ones."""
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{made.root}", "shallow")
    with pytest.raises((StateError, IntegrityError), match=r"came with one commit|no commit of this branch"):
        tags.compare(tmp_path / "shallow", "fashion-cnn")


def test_two_versions_in_one_commit_are_refused(project: Project) -> None:
    """GTO takes a stage's version from the commit: two on one commit cannot be told apart."""
    state = read_model(WorkTree(project.root), "fashion-cnn")
    with pytest.raises(StateError, match="came with one commit"):
        tags.expected_tags("fashion-cnn", state.events, dict.fromkeys(range(1, 9), "0" * 40))


def test_a_name_that_gto_cannot_read_is_refused(project: Project) -> None:
    """GTO's names end with a letter or digit."""
    with pytest.raises(InputError, match="GTO cannot read the name 'cnn-'"):
        tags.expected_tags("cnn-", (), {})


def test_times_grow_where_events_share_a_second(project: Project) -> None:
    """GTO sorts by whole seconds; two tags of one second would have no order."""
    state = read_model(WorkTree(project.root), "fashion-cnn")
    same = tuple(event.model_copy(update={"at": "2026-03-02T10:00:00Z"}) for event in state.events)
    found = tags.expected_tags("fashion-cnn", same, {number: f"{number:040d}" for number in range(1, 9)})
    times = [tag.at for tag in found]
    assert times == sorted(set(times))


@pytest.mark.parametrize("by", ["nobody", "A <b> <c>", "x\ny <a@b>", " <>", "<"])
def test_an_author_that_git_could_not_read_is_quoted(by: str) -> None:
    """Whatever stands in an event, the tag object stays well formed."""
    tagger = tags._tagger(by)
    assert tagger.count("<") == tagger.count(">") == 1
    assert "\n" not in tagger
