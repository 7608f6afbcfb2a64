"""What a change touches is decided by content: every way in that has none of the names, and what has no effect."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from weighbridge.ci.touch import all_undeclared, refusal, touch
from weighbridge.core.dvc_files import folder_md5
from weighbridge.core.git import Git

from . import repositories as made
from .repositories import PARAMS, STAGES, commit, lock, pointer, reformatted, side, write


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return made.make(tmp_path / "repo")


def reasons(git: Git, base: str, folder: str = ".") -> tuple[str, ...]:
    return touch(side(git, base, folder), side(git, "HEAD", folder)).reasons


def with_deps(root: Path, stage: str, *more: str) -> None:
    """dvc.yaml with further dependencies of a stage, and the lock of a run with them."""
    stages = {name: dict(body) for name, body in STAGES.items()}
    stages[stage]["deps"] = [*stages[stage]["deps"], *more]
    write(root, "dvc.yaml", yaml.safe_dump({"stages": stages}, sort_keys=False))
    lock(root, stages)


HARMLESS = {
    "README.md": "words",
    "docs/guide.md": "words",
    "docs/params.yaml": "a: 1",
    "tests/test_new.py": "from nets import model\n\n\ndef test():\n    pass\n",
    "nets2/model.py": "x = 1",
    "registry/models/net/channels.yaml": "a: 1",
    ".github/workflows/docs.yml": "name: docs\non: pull_request\n",
    "waivers/README.md": "words",
    ".gitignore": "*.log",
    "LICENSE": "MIT",
    "notebooks/look.ipynb": "{}",
    "requirements-docs/notes.md": "words",
    ".gitattributes": "*.png binary\nregistry/** -text\n",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_no_stage_uses_is_not_touched(git: Git, name: str) -> None:
    """Docs, tests, other folders, other workflows."""
    base = git.head()
    write(git.root, name, HARMLESS[name])
    commit(git)
    assert reasons(git, base) == ()


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "dvc.lock", "registry.policy.yaml"])
def test_layout_comments_and_order_of_keys_are_no_change(git: Git, name: str) -> None:
    """The documents say the same."""
    base, path = git.head(), git.root / name
    path.write_text(reformatted(path.read_text()))
    commit(git)
    assert reasons(git, base) == ()


def test_comments_in_settings_and_descriptions_of_stages_are_no_change(git: Git) -> None:
    """What only people read."""
    write(git.root, ".dvc/config", "[core]\n    remote = r\n")
    write(git.root, "pyproject.toml", "[project]\nname = 'a'\n[tool.ruff]\nline-length = 80\n")
    base = commit(git)
    write(git.root, ".dvc/config", "# words\n[core]\n    remote = r\n")
    write(git.root, "pyproject.toml", "[project]\nname = 'a'\n[tool.ruff]\nline-length = 120\n")
    gate = (git.root / ".github/workflows/gate.yml").read_text()
    write(git.root, ".github/workflows/gate.yml", f"# words\n{gate}")
    pipeline = yaml.safe_load((git.root / "dvc.yaml").read_text())
    pipeline["stages"]["train"]["desc"] = "Train it"
    write(git.root, "dvc.yaml", yaml.safe_dump(pipeline))
    commit(git)
    assert reasons(git, base) == ()


TOUCHING = {
    "nets/model.py": "class Net:\n    a = 1\n",
    "data.npz": "other examples",
    "requirements-weighbridge.txt": "weighbridge==2\n",
    "requirements.txt": "numpy==1\n",
    "pyproject.toml": "[project]\ndependencies = ['numpy==1']\n",
    "uv.lock": "x",
    ".dvc/config": "[core]\n    remote = other\n",
    ".dvcignore": "nets\n",
    "waivers/a.yaml": "budget: size.bytes\n",
    "registry.policy.yaml": "schema_version: 1\npromoters: [x]\n",
    ".github/workflows/gate.yml": "name: gate\non: pull_request\njobs: {gate: {steps: [{run: weighbridge --help}]}}\n",
    ".github/workflows/new.yml": "run: weighbridge ci gate || true\n",
    ".github/actions/setup/action.yml": "runs: {using: composite}\n",
    ".gitattributes": "*.npz text eol=crlf\n",
}


@pytest.mark.parametrize("name", TOUCHING)
def test_what_goes_in_or_governs_is_touched(git: Git, name: str) -> None:
    """Dependencies, libraries, DVC's settings, waivers, the policy, workflows, line ends of a dependency."""
    base = git.head()
    write(git.root, name, TOUCHING[name])
    commit(git)
    assert any(name in reason for reason in reasons(git, base))


@pytest.mark.parametrize(
    ("key", "value"),
    [("budgets", []), ("recipes", {}), ("weighing", {"threads": 2}), ("data", {"factory": "nets.data:other"})],
)
def test_every_section_of_params_counts(git: Git, key: str, value: dict[str, int | str]) -> None:
    """By its name."""
    base = git.head()
    write(git.root, "params.yaml", yaml.safe_dump({**PARAMS, key: value}))
    commit(git)
    assert f"params.yaml: {key} differs" in reasons(git, base)


def test_a_pointer_of_dvc_is_followed(git: Git) -> None:
    """The data is tracked by `dvc add`: its pointer changes, and nothing else."""
    old, _ = pointer(b"examples", "data.npz")
    git.run("rm", "--quiet", "--cached", "data.npz")
    write(git.root, ".gitignore", "/data.npz\n")
    write(git.root, "data.npz.dvc", old)
    base = commit(git)
    write(git.root, "data.npz.dvc", f"# words\n{old}")
    words = commit(git)
    assert reasons(git, base) == ()
    write(git.root, "data.npz.dvc", pointer(b"others", "data.npz")[0])
    commit(git)
    assert "data.npz differs" in reasons(git, words)


def test_a_folder_that_dvc_tracks_is_followed_from_within(git: Git) -> None:
    """A stage depends on one file of a folder that `dvc add` tracks as a whole."""
    with_deps(git.root, "prepare", "raw/a.npz")
    write(git.root, "raw.dvc", pointer(b"one", "raw")[0])
    base = commit(git)
    write(git.root, "raw.dvc", pointer(b"two", "raw")[0])
    commit(git)
    assert "raw/a.npz differs" in reasons(git, base)


def test_a_submodule_is_its_commit(git: Git, tmp_path: Path) -> None:
    """A dependency lies in a submodule, which is moved to another commit."""
    sub = made.Git(tmp_path / "sub")
    sub.root.mkdir()
    for arguments in (("init", "-q"), ("config", "user.name", "t"), ("config", "user.email", "t@example.invalid")):
        sub.run(*arguments)
    write(sub.root, "helper.py", "SHIFT = 0\n")
    commit(sub)
    git.run("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(sub.root), "sub")
    with_deps(git.root, "prepare", "sub/helper.py")
    base = commit(git)
    inner = made.Git(git.root / "sub")
    inner.run("config", "user.name", "t")
    inner.run("config", "user.email", "t@example.invalid")
    write(inner.root, "helper.py", "SHIFT = 7\n")
    commit(inner)
    commit(git)
    assert "sub/helper.py differs" in reasons(git, base)


def test_a_link_is_followed_to_what_it_names(git: Git) -> None:
    """The dependency is a link: neither its own path nor its target's name changes."""
    write(git.root, "store/one.npz", "one")
    write(git.root, "store/two.npz", "two")
    (git.root / "current").symlink_to("store/one.npz")
    (git.root / "folder").symlink_to("store")
    with_deps(git.root, "prepare", "current", "folder/two.npz")
    base = commit(git)
    write(git.root, "store/one.npz", "uno")
    commit(git)
    assert "current differs" in reasons(git, base)
    base = git.head()
    write(git.root, "store/two.npz", "due")
    commit(git)
    assert "folder/two.npz differs" in reasons(git, base)


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.npz", "loop"])
def test_what_cannot_be_told_counts_as_touched(git: Git, target: str) -> None:
    """A link out of the repository, or to itself."""
    (git.root / "loop").symlink_to(target)
    with_deps(git.root, "prepare", "loop")
    base = commit(git)
    write(git.root, "README.md", "words")
    commit(git)
    assert any("loop cannot be compared" in reason for reason in reasons(git, base))


def test_an_untracked_dependency_counts_as_touched(git: Git) -> None:
    """Neither Git nor DVC knows it."""
    with_deps(git.root, "prepare", "/data/big.npz", "cache.npz")
    base = commit(git)
    commit(git)
    assert len(reasons(git, base)) == 2


def external_model(root: Path, name: str, weights: str) -> None:
    """An ONNX file whose weights lie beside it."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], b"\0" * 16, raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=weights)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [value], [out], [tensor])
    write(root, name, helper.make_model(graph).SerializeToString())


def test_external_weights_of_an_onnx_file_are_followed(git: Git) -> None:
    """The file that a stage depends on is the same; the weights beside it are others."""
    external_model(git.root, "net.onnx", "net.weights")
    write(git.root, "net.weights", b"\0" * 16)
    with_deps(git.root, "train", "net.onnx")
    base = commit(git)
    assert reasons(git, base) == ()
    write(git.root, "net.weights", b"\1" * 16)
    commit(git)
    assert "net.onnx differs" in reasons(git, base)
    assert onnx.load(git.root / "net.onnx").graph.node[0].op_type == "Add"


def test_a_module_that_a_stage_imports_is_found(git: Git) -> None:
    """Not a dependency, but imported by one, through a package and inside of a function."""
    write(git.root, "nets/data.py", "def load():\n    from .deep import shift\n    return shift\n")
    write(git.root, "nets/deep/__init__.py", "from helper import shift\n")
    write(git.root, "helper.py", "shift = 0\n")
    lock(git.root)
    base = commit(git)
    assert reasons(git, base) == ()
    write(git.root, "helper.py", "shift = 7\n")
    commit(git)
    found = touch(side(git, base), side(git))
    assert "helper.py differs" in found.reasons
    assert [(item.stage, item.line, item.by) for item in found.undeclared] == [
        ("prepare", "helper.py", "nets/deep/__init__.py")
    ]
    assert {item.path for item in all_undeclared(side(git))} == {"helper.py", "nets/deep/__init__.py"}


def test_a_package_that_does_nothing_needs_no_line_until_it_does(git: Git) -> None:
    """An empty `__init__.py` cannot change what a stage does; one that gets code can."""
    write(git.root, "nets/data.py", "from deep.part import a\n")
    write(git.root, "deep/__init__.py", "")
    write(git.root, "deep/part.py", "a = 0\n")
    with_deps(git.root, "prepare", "deep/part.py")
    base = commit(git)
    assert all_undeclared(side(git)) == []
    write(git.root, "deep/__init__.py", '"""Parts."""\n')
    commit(git)
    assert reasons(git, base) == ()
    write(git.root, "deep/__init__.py", "import os\n")
    commit(git)
    assert [item.line for item in touch(side(git, base), side(git)).undeclared] == ["deep/__init__.py"]
    base = git.head()
    write(git.root, "deep/__init__.py", "")
    commit(git)
    assert [item.line for item in touch(side(git, base), side(git)).undeclared] == ["deep/__init__.py"]


def test_a_training_loop_of_ones_own_is_code_of_the_model(git: Git) -> None:
    """`train` names a callable of the repository: it is imported by the stages that train."""
    write(git.root, "params.yaml", yaml.safe_dump({**PARAMS, "train": {"loop": "loops:run"}}))
    write(git.root, "loops.py", "def run():\n    pass\n")
    commit(git)
    assert {(item.stage, item.line) for item in all_undeclared(side(git))} == {
        ("train", "loops.py"), ("compress", "loops.py")
    }  # fmt: skip


def test_a_declared_import_is_a_dependency_like_any_other(git: Git) -> None:
    """Then DVC runs the stage again, and nothing has to be said."""
    write(git.root, "nets/data.py", "import helper\n")
    write(git.root, "helper.py", "shift = 0\n")
    with_deps(git.root, "prepare", "helper.py")
    base = commit(git)
    write(git.root, "helper.py", "shift = 7\n")
    commit(git)
    found = touch(side(git, base), side(git))
    assert "helper.py differs" in found.reasons
    assert found.undeclared == ()


def test_a_file_that_takes_a_librarys_name_is_found(git: Git) -> None:
    """A new numpy.py in the project is what `import numpy` means from now on."""
    base = git.head()
    write(git.root, "numpy.py", "def load(path):\n    return 1\n")
    commit(git)
    assert [item.path for item in touch(side(git, base), side(git)).undeclared] == ["numpy.py"]


def test_code_that_never_runs_in_a_stage_is_not_imported(git: Git) -> None:
    """Under `if __name__ == "__main__"` and `if TYPE_CHECKING`."""
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tools\n"
    text += "if __name__ == '__main__':\n    import tools\n"
    write(git.root, "nets/data.py", text)
    write(git.root, "tools.py", "a = 0\n")
    lock(git.root)
    base = commit(git)
    write(git.root, "tools.py", "a = 1\n")
    commit(git)
    assert reasons(git, base) == ()


def test_a_harness_that_params_name_is_found(git: Git) -> None:
    """A command of a device is a file of the repository that no stage depends on."""
    devices = {"board": {"command": ["./harness.sh", "--fast"]}}
    write(git.root, "params.yaml", yaml.safe_dump({**PARAMS, "devices": devices}))
    write(git.root, "harness.sh", "echo 1\n")
    base = commit(git)
    write(git.root, "harness.sh", "echo 2\n")
    commit(git)
    assert [item.path for item in touch(side(git, base), side(git)).undeclared] == ["harness.sh"]


def test_requirements_are_followed_into_what_they_include(git: Git) -> None:
    """`-r`, and a wheel or folder of the repository."""
    write(git.root, "requirements-weighbridge.txt", "-r locks/all.lock\n./wheels/own.whl\n-e ./own\n")
    for name in ("locks/all.lock", "wheels/own.whl", "own/setup.py"):
        write(git.root, name, "a\n")
    lock(git.root)
    base = commit(git)
    for name in ("locks/all.lock", "wheels/own.whl", "own/setup.py"):
        write(git.root, name, "b\n")
        commit(git)
        assert len(reasons(git, base)) == 1
        base = git.head()


def test_a_lock_that_was_not_run_on_the_commit_is_touched(git: Git) -> None:
    """The dependency is as in the merge base, and neither is what the lock file has."""
    write(git.root, "nets/model.py", "class Net:\n    late = 1\n")
    base = commit(git)
    write(git.root, "README.md", "words")
    commit(git)
    assert any("nets/model.py is not the file that dvc.lock has" in reason for reason in reasons(git, base))


FOLDERS = """\
stages:
  prepare:
    cmd: weighbridge stage prepare || mkdir made
    deps: [images, nets/data.py]
    outs: [made]
  train:
    wdir: inner
    cmd: weighbridge stage train || cp -r ../images trained
    deps: [../images, own.py, ../made]
    outs: [trained]
"""


@pytest.fixture
def by_dvc(git: Git) -> Git:
    """A project whose lock DVC itself wrote, with a folder as a dependency and a stage in a folder of its own."""
    for name in ("images/a.png", "images/deep/b.png", "images/skipped.tmp", "inner/own.py"):
        write(git.root, name, name)
    write(git.root, "dvc.yaml", FOLDERS)
    write(git.root, ".dvcignore", "*.tmp\n/images/*.log\n")
    write(git.root, ".gitignore", "*.log\n__pycache__/\n/made\n")
    write(git.root, "images/run.log", "of this machine")
    (git.root / "dvc.lock").unlink()
    dvc = str(Path(sys.executable).with_name("dvc"))
    for command in (["init", "--quiet"], ["repro", "--quiet"]):
        subprocess.run([dvc, *command], cwd=git.root, check=True, capture_output=True)
    commit(git, "by DVC")
    return git


def test_folders_and_stages_in_folders_of_their_own_are_compared_as_dvc_does(by_dvc: Git) -> None:
    """Neither is stale as DVC left it, whatever else changes; a file in the folder that the lock does not have is."""
    git, base = by_dvc, side(by_dvc)
    assert [stage.deps for stage in base.stages][1] == ("images", "inner/own.py", "made")
    write(git.root, "README.md", "words\n")
    write(git.root, "images/skipped.tmp", "DVC ignores it")
    commit(git)
    assert touch(base, side(git)).reasons == ("images differs",)
    git.run("checkout", "--quiet", base.tree.commit, "--", "images")
    commit(git)
    assert touch(base, side(git)).reasons == ()
    write(git.root, "images/deep/b.png", "another")
    write(git.root, "inner/own.py", "another")
    commit(git)
    reasons = touch(base, side(git)).reasons
    assert "images is not the folder that dvc.lock has for the stage prepare" in reasons
    assert "inner/own.py is not the file that dvc.lock has for the stage train" in reasons


def test_a_lock_with_another_folder_is_stale(by_dvc: Git) -> None:
    """Where the change writes the md5 of a folder that the commit does not have."""
    git, base = by_dvc, side(by_dvc)
    text = (git.root / "dvc.lock").read_text()
    known = base.contents.folder_md5("images")
    assert known in text
    write(git.root, "dvc.lock", text.replace(known, f"{'0' * 32}.dir"))
    commit(git)
    assert "images is not the folder that dvc.lock has for the stage train" in touch(base, side(git)).reasons


def test_a_folder_with_what_git_does_not_have_cannot_be_compared(git: Git) -> None:
    """A link, or a folder that a pointer of DVC names: DVC's digest of the whole is unknown, not wrong."""
    for name in ("plain/a", "linked/a", "tracked/a"):
        write(git.root, name, "a")
    (git.root / "linked/b").symlink_to("a")
    write(git.root, "tracked/raw.dvc", "outs:\n- md5: 00000000000000000000000000000000.dir\n  path: raw\n")
    commit(git)
    contents = side(git).contents
    assert contents.folder_md5("plain") == folder_md5(git.root / "plain")
    assert contents.folder_md5("linked") is None
    assert contents.folder_md5("tracked") is None
    assert contents.folder_md5("nowhere") is None


def test_a_stage_that_never_ran_is_touched(git: Git) -> None:
    """The lock file of both commits lacks it."""
    content = yaml.safe_load((git.root / "dvc.lock").read_text())
    del content["stages"]["compress@w8"]
    write(git.root, "dvc.lock", yaml.safe_dump(content))
    base = commit(git)
    commit(git)
    assert reasons(git, base) == ("dvc.lock does not have all of the stage compress",)
    git.run("rm", "--quiet", "dvc.lock")
    commit(git)
    assert any("dvc.lock is not in" in reason for reason in reasons(git, base))


def test_what_another_pipeline_makes_is_followed_to_its_inputs(git: Git) -> None:
    """A dependency is the output of another project of the repository: DVC runs that one too."""
    other = {"stages": {"raw": {"cmd": "python make.py", "deps": ["make.py"], "outs": ["out.npz"]}}}
    write(git.root, "other/dvc.yaml", yaml.safe_dump(other))
    write(git.root, "other/make.py", "1\n")
    write(git.root, "other/dvc.lock", "schema: '2.0'\nstages: {}\n")
    with_deps(git.root, "prepare", "other/out.npz")
    base = commit(git)
    assert reasons(git, base) == ()
    write(git.root, "other/make.py", "2\n")
    commit(git)
    assert "other/out.npz differs" in reasons(git, base)


def test_a_project_below_the_top_has_its_own(tmp_path: Path) -> None:
    """Two folders: one's change is not the other's; what lies at the top concerns both."""
    git = made.make(tmp_path / "repo", folder="models/a")
    base = git.head()
    write(git.root, "models/b/nets/model.py", "1")
    write(git.root, "params.yaml", "a: 1\n")
    commit(git)
    assert reasons(git, base, "models/a") == ()
    write(git.root, "requirements.txt", "numpy==1\n")
    write(git.root, "models/a/data.npz", "others")
    commit(git)
    found = reasons(git, base, "models/a")
    assert "requirements.txt differs" in found
    assert "data.npz differs" in found


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "dvc.lock", "waivers", "registry.policy.yaml"])
def test_links_where_the_gate_reads_are_refused(git: Git, name: str) -> None:
    """What a link names can be changed without changing the link."""
    path = git.root / name
    write(git.root, "elsewhere/here", path.read_text() if path.is_file() else "a: 1\n")
    if path.exists():
        path.unlink()
    path.symlink_to("elsewhere" if name == "waivers" else "elsewhere/here")
    commit(git)
    assert f"{name}: is a symbolic link" in str(refusal(side(git)))


def test_a_frozen_stage_is_refused(git: Git) -> None:
    """DVC would not run it, and its old output would be weighed."""
    assert refusal(side(git)) is None
    stages = {**STAGES, "train": {**STAGES["train"], "frozen": True}}
    write(git.root, "dvc.yaml", yaml.safe_dump({"stages": stages}))
    commit(git)
    assert "stages.train: is frozen" in str(refusal(side(git)))


def test_deciding_asks_git_a_bounded_number_of_times(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand files cost no more processes than ten: the count is what a test can hold on to."""
    for number in range(2000):
        write(git.root, f"many/{number % 40}/{number}.py", f"{number}\n")
    base = commit(git)
    write(git.root, "README.md", "words")
    commit(git)
    calls, original = [], subprocess.run

    def counted(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[Any]:
        calls.append(arguments)
        return original(*arguments, **more)

    monkeypatch.setattr(subprocess, "run", counted)
    assert reasons(git, base) == ()
    assert len(calls) < 60
