"""The real quickstart, run once in a folder of its own and shared by every test that looks at it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]


class Checkout:
    """A Git repository with the project's files, in which commands run as a user would type them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        binaries = str(Path(sys.executable).parent)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_"))},
            "PATH": os.pathsep.join([binaries, os.environ["PATH"]]),
            "PYTHONPATH": str(root),
            "WEIGHBRIDGE_DEVICE_CLASS": "test-bench",
        }

    def run(self, *command: str, expect: int = 0, **environment: str) -> str:
        """Run a command; its standard output. Another exit code than expected shows everything it printed."""
        done = subprocess.run(
            command, cwd=self.root, env={**self.environment, **environment}, capture_output=True, text=True, check=False
        )
        assert done.returncode == expect, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if expect == 0 else done.stdout + done.stderr

    def repro(self, **environment: str) -> list[str]:
        """`dvc repro`; the stages that it ran."""
        return re.findall(r"^Running stage '(.+)'", self.run("dvc", "repro", **environment), re.MULTILINE)

    def commit(self, message: str) -> None:
        """Commit every change."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands once in a file."""
        path = self.root / name
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Checkout]:
    """A function that lays the project's files out as a fresh Git repository."""

    def make(name: str) -> Checkout:
        root = tmp_path_factory.mktemp(name)
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listing, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        # What was promoted here names commits of this repository, which the fresh one lacks.
        for file in (name for name in files.split("\0") if name and not name.startswith("registry/models/")):
            source = PROJECT / file
            if source.is_file() or source.is_symlink():  # links to the rooms' folders are tracked as links
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, root / file, follow_symlinks=False)
        copy = Checkout(root)
        copy.run("git", "init", "--quiet", "--initial-branch=main")
        copy.run("git", "config", "user.name", "Test Bench")
        copy.run("git", "config", "user.email", "bench@example.invalid")
        copy.commit("The project as it stands")
        return copy

    return make


@pytest.fixture(scope="session")
def quickstart(checkout: Callable[[str], Checkout]) -> Any:
    """The quickstart after its first `dvc repro`; `stages` are those that ran."""
    copy = checkout("quickstart")
    # Weighing ends when every budget is decided; a busy machine may take its time until then.
    copy.edit("params.yaml", "time_limit: 60s", "time_limit: 180s")
    # Nothing is reused: the lock of the project would be of use to a cache that is missing.
    (copy.root / "dvc.lock").unlink(missing_ok=True)
    copy.stages = copy.repro()  # type: ignore[attr-defined]
    copy.commit("Reproduce")
    return copy
