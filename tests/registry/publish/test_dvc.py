"""Bytes from real DVC remotes: a folder, and a machine behind a real SSH server."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.registry.lookup import dvc_remotes, measurements
from weighbridge.registry.publish import pull

if TYPE_CHECKING:
    from tests.registry.publish.project import Project


def run_dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored(folder: Path, content: bytes) -> Path:
    """Where DVC keeps bytes in a cache or a remote."""
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return folder / "files/md5" / name[:2] / name[2:]


def configure(project: "Project", url: str, **settings: Path | str) -> "Project":
    """Give the project a default DVC remote, as `dvc init` and `dvc remote add` write it."""
    lines = ["[core]", "    analytics = false", "    remote = far", "['remote \"far\"']", f"    url = {url}"]
    lines += [f"    {name} = {value}" for name, value in settings.items()]
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc/config").write_text("\n".join(lines) + "\n")
    return project


def with_folder(project: "Project", folder: Path) -> "Project":
    """A remote that is a folder and holds the bytes of v1, which are nowhere else."""
    file = stored(folder, project.contents["int8"])
    file.parent.mkdir(parents=True)
    file.write_bytes(project.contents["int8"])
    shutil.rmtree(project.root / "artifacts")
    return configure(project, str(folder))


def take(project: "Project", out: Path) -> pull.Pulled:
    return pull.pull(project.root, pull.want(project.root, "fashion-cnn@stable"), out)


def test_bytes_come_from_a_folder_remote_and_are_checked(project: "Project", tmp_path: Path) -> None:
    """After a fresh clone the bytes are nowhere but in the remote; they arrive whole, hashed and under their name."""
    with_folder(project, tmp_path / "remote")
    take(project, tmp_path / "out")
    assert (tmp_path / "out/model.onnx").read_bytes() == project.contents["int8"]


def test_a_remote_that_gives_other_bytes_is_found_out(project: "Project", tmp_path: Path) -> None:
    """DVC's md5 is only a name: what counts is the sha256 in the record."""
    with_folder(project, tmp_path / "remote")
    file = stored(tmp_path / "remote", project.contents["int8"])
    file.write_bytes(b"int8 weightz " * 10)
    with pytest.raises((IntegrityError, StateError), match="hashes wrong"):
        take(project, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_remote_without_the_bytes_says_so(project: "Project", tmp_path: Path) -> None:
    """Not in the remote is an error of its own, with what to do."""
    with_folder(project, tmp_path / "remote")
    missing = "0" * 32
    with pytest.raises(StateError, match=rf"DVC remote far: does not have {missing}"):
        dvc_remotes.fetch(project.root, missing, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_dvc_itself_fetches_from_a_named_remote(project: "Project", tmp_path: Path) -> None:
    """DVC writes the object where it was told to."""
    with_folder(project, tmp_path / "remote")
    name = hashlib.md5(project.contents["int8"], usedforsecurity=False).hexdigest()
    dvc_remotes.fetch(project.root, name, tmp_path / "x", remote="far")
    assert (tmp_path / "x").read_bytes() == project.contents["int8"]
    with pytest.raises(StateError, match="nowhere"):
        dvc_remotes.fetch(project.root, name, tmp_path / "y", remote="nowhere")


def test_a_remote_that_was_named_is_the_only_place(project: "Project", tmp_path: Path) -> None:
    """`--dvc-remote` takes the bytes from there, though the project has them; elsewhere, or unknown, is an error."""
    with_folder(project, tmp_path / "remote")
    near = stored(project.root / ".dvc/cache", project.contents["int8"])
    near.parent.mkdir(parents=True)
    near.write_bytes(project.contents["int8"])
    config = project.root / ".dvc/config"
    config.write_text(config.read_text() + f"['remote \"empty\"']\n    url = {tmp_path}/empty-store\n")
    (tmp_path / "empty-store").mkdir()
    wanted = pull.want(project.root, "fashion-cnn@stable")
    taken = pull.pull(project.root, wanted, tmp_path / "out", pull.DvcRemote("far"))
    assert taken.source == "DVC remote far"
    for name, said in (("empty", "does not have them"), ("gone", "gone")):
        with pytest.raises(StateError, match=said):
            pull.pull(project.root, wanted, tmp_path / name, pull.DvcRemote(name))
        assert not (tmp_path / name).exists()


def test_no_default_remote_says_which_command_makes_one(project: "Project") -> None:
    """A project without a remote is told how to add one."""
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc/config").write_text("")
    with pytest.raises(StateError, match=r"no default DVC remote is configured.*dvc remote add"):
        dvc_remotes.default_remote(project.root)


def test_a_project_without_dvc_is_one_clear_line(project: "Project", tmp_path: Path) -> None:
    """Not a DVC project: DVC's own words, no traceback."""
    with pytest.raises(StateError, match=r"DVC remote far: .*remote 'far' doesn't exist"):
        dvc_remotes.fetch(project.root, "0" * 32, tmp_path / "x", remote="far")


def test_a_remote_that_hangs_is_given_up(project: "Project", tmp_path: Path) -> None:
    """A process that does not end is ended, and the error says after how long."""
    with_folder(project, tmp_path / "remote")
    with pytest.raises(StateError, match=r"timed out after 0\.01 s"):
        dvc_remotes.fetch(project.root, "0" * 32, tmp_path / "x", remote="far", patience=0.01)


def test_what_dvc_pushed_over_ssh_comes_back_over_ssh(
    project: "Project", ssh: tuple[Any, Path], tmp_path: Path
) -> None:
    """DVC's own push fills a remote behind a real sshd; the pull finds the bytes there under the recorded md5."""
    port, key = ssh
    configure(project, f"ssh://127.0.0.1:{port}{tmp_path / 'far'}", keyfile=key, allow_agent="false")
    (project.root / "model.onnx").write_bytes(project.contents["int8"])
    run_dvc(project.root, "add", "--quiet", "model.onnx")
    run_dvc(project.root, "push", "--quiet")
    assert stored(tmp_path / "far", project.contents["int8"]).is_file()
    shutil.rmtree(project.root / "artifacts")
    shutil.rmtree(project.root / ".dvc/cache")
    take(project, tmp_path / "out")
    assert (tmp_path / "out/model.onnx").read_bytes() == project.contents["int8"]


def test_an_ssh_remote_that_does_not_answer_is_one_clear_line(project: "Project", tmp_path: Path) -> None:
    """Whatever the plugin raises becomes one line that names the remote."""
    configure(project, f"ssh://127.0.0.1:1{tmp_path / 'far'}", allow_agent="false")
    shutil.rmtree(project.root / "artifacts")
    with pytest.raises(StateError, match=r"not on this machine.*DVC remote far: could not be asked"):
        take(project, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "ask",
    [
        dvc_remotes.list_objects,
        lambda root: dvc_remotes.fetch(root, "0" * 32, root / "x"),
        lambda root: measurements.push_measurements(root, [("measurements/a.json", b"{}")]),
        lambda root: dvc_remotes.push(root, []),
    ],
)
def test_a_plugin_that_dvc_lacks_is_one_line_with_what_to_install(project: "Project", ask: Any) -> None:
    """A bucket needs one; the tests' libraries have another boto3 than it takes, so that it is missing here."""
    configure(project, "s3://bucket/weighbridge")
    with pytest.raises(StateError) as caught:
        ask(project.root)
    assert str(caught.value) == (
        "DVC remote far: could not be asked: DVC's plugin dvc-s3 is not installed (pip install dvc-s3)"
    )


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 32, "0" * 31, "0" * 33])
def test_a_name_that_is_no_md5_never_becomes_a_place(project: "Project", tmp_path: Path, name: str) -> None:
    """The name comes from a file: it must not lead anywhere else in the remote."""
    with pytest.raises(IntegrityError, match="is not an MD5 digest"):
        dvc_remotes.fetch(project.root, name, tmp_path / "x", remote="far")
