"""What the wheel and the source distribution hold."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.act_bench import DATA, MODEL, PARAMS

PROJECT = Path(__file__).parents[2]


def build(folder: Path, out: Path, *targets: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--directory", out]
    for target in targets:
        command += ["--target", target]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, from a copy that has registry state beside the code."""
    home = tmp_path_factory.mktemp("packaging")
    source = home / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(PROJECT / name, source)
    for name in ("weighbridge", "compress", "gate", "registry", "search", "serve"):
        shutil.copytree(PROJECT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    state = source / "registry/models/net/channels.yaml"
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text("stable: v1\n")
    (source / "data.npz").write_bytes(b"x")
    build(source, home / "dist", "sdist", "wheel")
    return home


def test_the_wheel_has_one_top_level_package(built: Path) -> None:
    """And none of the registry's state."""
    (wheel,) = (built / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"weighbridge"}
    for room in ("compress", "gate", "registry", "search", "serve"):
        assert f"weighbridge/{room}/__init__.py" in names
    assert not any("registry/models/" in name or name.endswith((".npz", ".onnx")) for name in names)


def test_the_source_distribution_builds_the_same_wheel(built: Path) -> None:
    """Links became real folders; one package, no data, under 2 MB."""
    (archive,) = (built / "dist").glob("*.tar.gz")
    assert archive.stat().st_size < 2_000_000
    with tarfile.open(archive) as file:
        members = file.getmembers()
        file.extractall(built / "unpacked", filter="data")
    assert not any(member.issym() or member.islnk() for member in members)
    assert not any("registry/models/" in member.name or member.name.endswith(".npz") for member in members)
    (source,) = (built / "unpacked").iterdir()
    assert [path.name for path in source.iterdir() if path.is_dir()] == ["weighbridge"]
    build(source, built / "again", "wheel")
    (first,), (second,) = (built / "dist").glob("*.whl"), (built / "again").glob("*.whl")
    assert first.read_bytes() == second.read_bytes()


def test_the_installed_wheel_ignores_modules_of_the_same_names(built: Path) -> None:
    """A repository with its own compress.py, gate.py and registry/ runs the program beside them."""
    (wheel,) = (built / "dist").glob("*.whl")
    site = built / "site"
    zipfile.ZipFile(wheel).extractall(site)
    project = built / "project"
    (project / "registry").mkdir(parents=True)
    for name in ("compress.py", "gate.py", "registry/__init__.py"):
        (project / name).write_text("raise SystemExit('the wrong module')\n")
    code = (
        f"import sys; sys.path[:0] = [{str(project)!r}, {str(site)!r}]\n"
        "import weighbridge.compress.recipe.recipe, weighbridge.gate.stages.standalone, weighbridge.registry\n"
        f"assert weighbridge.registry.__file__.startswith({str(site)!r}), weighbridge.registry.__file__"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = [sys.executable, "-m", "weighbridge", "registry", "list"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False)
    assert "wrong module" not in done.stdout + done.stderr


OWN = {
    "compress.py": "WIDTH = 64\n",
    "gate.py": "CLASSES = 4\n",
    "registry/__init__.py": "SEED = 5\n",
    "compose/__init__.py": "from registry import SEED\n",
    "nets/__init__.py": "",
    "nets/data.py": DATA.replace("import numpy", "from compose import SEED\nimport numpy").replace(
        "_rng(5)", "_rng(SEED)"
    ),
    "nets/model.py": MODEL.replace("256", "WIDTH")
    .replace(", 4)", ", CLASSES)")
    .replace("from torch", "from compress import WIDTH\nfrom gate import CLASSES\nfrom torch"),
}
"""A user's modules with the names of ours, in use."""


@pytest.fixture
def user(built: Path, tmp_path: Path) -> tuple[Path, Callable[..., str]]:
    """Run commands in a Git repository with those modules, by the wheel's program."""
    (wheel,) = (built / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("weighbridge", "dvc"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "DVC_"))} | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path / "site"),
        "OMP_NUM_THREADS": "1",
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    project = tmp_path / "project"
    for name, text in OWN.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run("git", "init", "--quiet", "--initial-branch=main")
    run("git", "config", "user.name", "A User")
    run("git", "config", "user.email", "user@example.invalid")
    assert str(tmp_path / "site") in run(sys.executable, "-c", "import weighbridge; print(weighbridge.__file__)")
    return project, run


@pytest.mark.slow
def test_the_whole_road_runs_beside_modules_of_the_same_names(user: tuple[Path, Callable[..., str]]) -> None:
    """From the wheel, and both sides get their own modules."""
    project, run = user
    run("weighbridge", "init", "--name", "clouds", "--model", "nets.model:Net", "--data", "nets.data:load",
        "--no-workflows", "--install-from", "git+https://example.invalid/weighbridge@v1")  # fmt: skip
    (project / "params.yaml").write_text(PARAMS)
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "A model and its gate")
    run("dvc", "repro")
    run("git", "add", "--all")
    run("git", "commit", "--quiet", "--message", "Reproduce")
    assert "hidden" in run(sys.executable, "-m", "weighbridge", "explain", "small")
    assert "pass" in run("weighbridge", "gate")
    run("weighbridge", "registry", "promote", "small", "--no-push")
    assert "clouds@v1" in run("weighbridge", "registry", "resolve", "clouds@stable")


@pytest.mark.parametrize("name", ["compress", "gate", "registry", "search", "serve"])
def test_a_bare_import_of_a_room_is_a_lint_error(name: str) -> None:
    """The rule of pyproject.toml, on code as ours could be."""
    ruff = Path(sys.executable).parent / "ruff"
    done = subprocess.run(
        [ruff, "check", "--select", "TID251", "--stdin-filename", "weighbridge/x.py", "-"],
        input=f"import {name}\n", cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"import weighbridge.{name}" in done.stdout
