"""What the wheel and the source distribution hold."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def build(folder, out, *targets):
    command = [sys.executable, "-m", "hatchling", "build", "--directory", out]
    for target in targets:
        command += ["--target", target]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both, from a copy that has registry state beside the code."""
    home = tmp_path_factory.mktemp("packaging")
    source = home / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(PROJECT / name, source)
    for name in ("weighbridge", "compress", "gate", "registry"):
        shutil.copytree(PROJECT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    state = source / "registry/models/net/channels.yaml"
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text("stable: v1\n")
    (source / "data.npz").write_bytes(b"x")
    build(source, home / "dist", "sdist", "wheel")
    return home


def test_the_wheel_has_one_top_level_package(built):
    """And none of the registry's state."""
    (wheel,) = (built / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"weighbridge"}
    for room in ("compress", "gate", "registry"):
        assert f"weighbridge/{room}/__init__.py" in names
    assert not any("/models/" in name or name.endswith((".npz", ".onnx")) for name in names)


def test_the_source_distribution_builds_the_same_wheel(built):
    """Links became real folders; one package, no data, under 2 MB."""
    (archive,) = (built / "dist").glob("*.tar.gz")
    assert archive.stat().st_size < 2_000_000
    with tarfile.open(archive) as file:
        members = file.getmembers()
        file.extractall(built / "unpacked", filter="data")
    assert not any(member.issym() or member.islnk() for member in members)
    assert not any("/models/" in member.name or member.name.endswith(".npz") for member in members)
    (source,) = (built / "unpacked").iterdir()
    assert [path.name for path in source.iterdir() if path.is_dir()] == ["weighbridge"]
    build(source, built / "again", "wheel")
    (first,), (second,) = (built / "dist").glob("*.whl"), (built / "again").glob("*.whl")
    assert first.read_bytes() == second.read_bytes()


def test_the_installed_wheel_ignores_modules_of_the_same_names(built):
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


@pytest.mark.parametrize("name", ["compress", "gate", "registry", "search", "serve"])
def test_a_bare_import_of_a_room_is_a_lint_error(name):
    """The rule of pyproject.toml, on code as ours could be."""
    ruff = Path(sys.executable).parent / "ruff"
    done = subprocess.run(
        [ruff, "check", "--select", "TID251", "--stdin-filename", "weighbridge/x.py", "-"],
        input=f"import {name}\n", cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"import weighbridge.{name}" in done.stdout
