"""The tutorial, followed to the letter: every file, edit and command as the page prints it."""

import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs/tutorial.md"
BLOCK = re.compile(r'^```(?P<kind>\w+)(?: title="(?P<file>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass
class Typed:
    """A command of the page, with what is printed below it."""

    command: str
    printed: list[str]
    code: int = 0


def typed(block: str) -> list[Typed]:
    """The commands of a console block; `echo $?` says which code the one before exited with."""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(Typed(line.removeprefix("$ "), []))
        else:
            found[-1].printed.append(line)
    for before, after in itertools.pairwise(found):
        if after.command == "echo $?":
            before.code = int(after.printed[0])
    return [item for item in found if item.command != "echo $?"]


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def edit(root: Path, name: str, diff: str) -> None:
    """Replace the lines with a minus by those with a plus."""
    old, new = ("".join(f"{line[1:]}\n" for line in diff.splitlines() if line[0] == sign) for sign in "-+")
    text = (root / name).read_text()
    # A line within a line, as `max_drop: 0.02`, has no end of its own.
    old, new = (old, new) if old in text else (old.strip(), new.strip())
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    write(root, name, text.replace(old, new))


def built(lines: list[str]) -> list[Any]:
    """Stages that build. Whether a measurement changes, so that it is judged again, is for the machine to say."""
    ran = [line for line in lines if line.startswith("Running stage")]
    return [line for line in ran if not re.search(r"'(device|weigh@\w+|judge)'", line)]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_command_does_what_the_page_says(tmp_path: Path) -> None:
    """From an empty folder: exit codes and what is built are as printed, through branch, merge and roll-back."""
    root = tmp_path / "clouds"
    root.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "GITHUB_", "DVC_", "CI"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {"PATH": path, "COLUMNS": "110", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    ran = []
    for block in BLOCK.finditer(PAGE.read_text()):
        kind, name, text = block.group("kind", "file", "text")
        if kind == "console":
            for item in typed(text):
                done = subprocess.run(
                    ["bash", "-c", item.command], cwd=root, env=environment, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, text=True, check=False,
                )  # fmt: skip
                assert done.returncode == item.code, f"{item.command} exited {done.returncode}\n{done.stdout}"
                assert built(done.stdout.splitlines()) == built(item.printed), item.command
                ran.append(item.command.split()[:2])
        elif kind == "diff":
            edit(root, name, text)
        else:
            write(root, name, text)
    for command in (["git", "switch"], ["git", "commit"], ["git", "merge"], ["weighbridge", "init"], ["dvc", "repro"]):
        assert command in ran
    log = subprocess.run(["git", "log", "--oneline", "main"], cwd=root, capture_output=True, text=True, check=True)
    said = [line.partition(" ")[2] for line in log.stdout.splitlines()]
    assert said[:2] == ["clouds: roll back v1 to b1", "clouds: promote v1 (compact)"]
