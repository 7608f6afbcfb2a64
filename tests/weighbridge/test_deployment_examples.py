"""The image's recipe and the systemd unit: read by the tools that would refuse them, and true of this tree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "docs/examples/serve"
RECIPE = (FOLDER / "Containerfile").read_text()
UNIT = (FOLDER / "weighbridge@.service").read_text()


def lint(text: str) -> Any:
    """What hadolint says of a recipe."""
    hadolint = shutil.which("hadolint") or str(Path(sys.executable).with_name("hadolint"))
    done = subprocess.run([hadolint, "--no-color", "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == bool(done.stdout), done.stderr
    return done.stdout


def test_the_image_recipe_has_no_finding() -> None:
    assert lint(RECIPE) == ""


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (
            "docker.io/library/python:3.12-slim-bookworm\n\nFROM ${PYTHON} AS build",
            "x\n\nFROM python AS build",
            "DL3006",
        ),
        ("--no-cache-dir ", "", "DL3042"),
        ("--no-install-recommends ", "", "DL3015"),
        ('ENTRYPOINT ["weighbridge"]', "ENTRYPOINT weighbridge", "DL3025"),
        ("USER 65532:65532", "USER root", "DL3002"),
        ("WORKDIR /src", "WORKDIR src", "DL3000"),
    ],
)
def test_a_broken_image_recipe_is_caught(before: str, after: str, rule: str) -> None:
    assert before in RECIPE
    assert rule in lint(RECIPE.replace(before, after, 1))


def test_the_image_recipe_copies_all_that_the_package_links_to(tmp_path: Path) -> None:
    """And asks for extras and options that there are."""
    for line in re.findall(r"^COPY (?!--)(.+)$", RECIPE, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            found = PROJECT / source
            into = tmp_path / source if target == "./" else tmp_path / target
            if found.is_dir():
                shutil.copytree(found, into, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "models"))
            else:
                shutil.copyfile(found, into)
    links = [path for path in (tmp_path / "weighbridge").iterdir() if path.is_symlink()]
    assert len(links) == 5
    assert all((link / "__init__.py").is_file() for link in links)
    extras = re.search(r'"\.\[(.+)\]"', RECIPE)[1].split(",")
    declared = (PROJECT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in declared for extra in extras)


def verify(unit: str, folder: Path) -> str:
    """What systemd says of a unit, whose program is put where there is one."""
    path = folder / "weighbridge@demo.service"
    path.write_text(unit.replace("/opt/weighbridge/bin/weighbridge", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr + done.stdout


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")


@needs_systemd
def test_systemd_reads_the_unit_without_a_word(tmp_path: Path) -> None:
    assert verify(UNIT, tmp_path) == ""


@needs_systemd
@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("Restart=always", "Restrat=always", "Unknown key"),
        ("Restart=always", "Restart=sometimes", "Failed to parse"),
        ("Type=exec", "Type=execs", "Failed to parse"),
        ("ExecStart=/opt/weighbridge/bin/weighbridge", "ExecStart=bin/weighbridge", "executable"),
        ("MemoryMax=2G", "MemoryMax=much", "Invalid memory limit"),
    ],
)
def test_a_broken_unit_is_caught(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in UNIT
    assert said in verify(UNIT.replace(before, after, 1), tmp_path)


@needs_systemd
def test_the_unit_is_confined(tmp_path: Path) -> None:
    """By systemd's own measure of what a service could do, 0 to 10; what is left is the network."""
    path = tmp_path / "weighbridge@demo.service"
    path.write_text(UNIT)
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    path.write_text(re.sub(r"(Protect|Restrict)\w+=.*\n", "", UNIT))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_the_unit_and_the_recipe_name_options_that_there_are() -> None:
    from weighbridge.entry import main  # noqa: F401  # the command that both start

    asked = subprocess.run(
        [sys.executable, "-m", "weighbridge", "serve", "--help"], capture_output=True, text=True, check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    for option in re.findall(r"--[a-z-]+", re.search(r"^ExecStart=.*$", UNIT, re.MULTILINE)[0]):
        assert option in asked
    assert "--host" in asked
