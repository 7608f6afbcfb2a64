"""Bytes from a DVC remote of any kind, by the md5 under which DVC stores them.

DVC itself does the work, in a process of its own: the plugins for S3, SSH and the like raise whatever their
libraries raise, ask questions, draw bars. A child process turns all of that into an exit code and one line.
The md5 only finds the bytes; what they are is decided by their sha256, by the caller.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.registry.lookup.asking import CannotAskError

_PLUGIN = re.compile(r"requires '(dvc-[a-z0-9-]+)' to be installed")
MD5 = re.compile(r"[0-9a-f]{32}(?:\.dir)?")
PATIENCE = 600.0
"""Seconds after which a remote that does not answer is given up."""
_LIST = """
import json, sys
from dvc.config import Config
from dvc.exceptions import URLMissingError
from dvc.repo import Repo
try:
    found = Repo.ls_url(f"remote://{sys.argv[1]}/files/md5", recursive=True, config=Config.from_cwd())
except URLMissingError:
    found = []
print(json.dumps([[entry["path"], entry["size"]] for entry in found if not entry["isdir"]]))
"""


def fetch(root: Path, md5: str, destination: Path, *, remote: str | None = None, patience: float = PATIENCE) -> None:
    """Write the object named `md5` of a DVC remote (the default one, or `remote`) to `destination`.

    Nothing that arrives is trusted: the caller compares its sha256 with the record before using it. A project
    without DVC or without a remote, a remote that cannot be reached, and an object that it does not have are
    a `StateError` that says which; a name that is no md5 is an `IntegrityError`.
    """
    if not MD5.fullmatch(md5):
        raise IntegrityError(f"{md5!r} is not an MD5 digest, so DVC cannot have stored anything under it")
    name = remote or default_remote(root)
    url = f"remote://{name}/files/md5/{md5[:2]}/{md5[2:]}"
    done = _dvc(root, "get-url", "--force", url, str(destination), patience=patience)
    if done.returncode == 0 and destination.is_file():
        return
    said = _last_line(done)
    if "does not exist" in said and md5[2:] in said:
        raise StateError(
            f"does not have {md5}", where=f"DVC remote {name}", fix="run `dvc push` where the bytes were made"
        )
    raise _unasked(said, name)


def _unasked(said: str, name: str) -> CannotAskError:
    """A remote that could not be asked, with the plugin that DVC lacks for it where that is why."""
    plugin, where = _PLUGIN.search(said), f"DVC remote {name}"
    if plugin is None:
        return CannotAskError(f"could not be asked: {said}", where=where)
    return CannotAskError(
        f"could not be asked: DVC's plugin {plugin[1]} is not installed", where=where, fix=f"pip install {plugin[1]}"
    )


def default_remote(root: Path) -> str:
    """Name of the remote that the project's DVC configuration says is the default; a `StateError` if none is."""
    done = _dvc(root, "config", "core.remote", patience=60.0)
    name = done.stdout.strip()
    if done.returncode != 0 and not name:
        raise CannotAskError(f"the DVC remote could not be asked: {_last_line(done)}", where=str(root))
    if not name:
        raise StateError(
            "no default DVC remote is configured", where=str(root), fix="`dvc remote add -d NAME URL`, or name one"
        )
    return name


def _dvc(root: Path, *arguments: str, patience: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    quiet = {"DVC_NO_ANALYTICS": "1", "NO_COLOR": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        return subprocess.run(
            command,
            cwd=root,
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotAskError(f"dvc {arguments[0]} timed out after {patience:g} s", where=str(root)) from error
    except OSError as error:
        raise StateError(f"dvc cannot be started: {error.strerror}", where=str(root)) from error


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """What DVC said that it failed on, or at least that it failed."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if any("No module named dvc" in line for line in lines):
        return "DVC is not installed here (pip install 'weighbridge[pipeline]')"
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    found = errors or lines or [f"dvc ended with {done.returncode} and said nothing"]
    return found[-1] if not errors else errors[0]


def push(root: Path, targets: Sequence[str], *, remote: str | None = None, patience: float = PATIENCE) -> None:
    """`dvc push` outputs of the pipeline by their paths; a remote that does not take them is a `StateError`."""
    name = remote or default_remote(root)
    done = _dvc(root, "push", "--remote", name, *targets, patience=patience)
    if done.returncode != 0:
        said = _last_line(done)
        raise _unasked(said, name) if _PLUGIN.search(said) else StateError(said, where=f"DVC remote {name}")


def list_objects(root: Path, *, remote: str | None = None) -> dict[str, int]:
    """The objects of a DVC remote of any kind: MD5 digest → bytes. One that cannot be asked is a `CannotAskError`."""
    name = remote or default_remote(root)
    listed = json.loads(run_python(root, _LIST, name))
    names = ((path.replace("/", "").replace("\\", ""), size) for path, size in listed)
    return {md5: int(size or 0) for md5, size in names if MD5.fullmatch(md5)}


def run_python(root: Path, script: str, *arguments: str) -> str:
    """Run a script that asks DVC's own classes for a project's remote; its output. A failure is a `CannotAskError`."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=root,
            env={**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise CannotAskError(f"did not answer in {PATIENCE:g} s", where="DVC remote") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise _unasked(said, default_remote(root))
    return done.stdout
