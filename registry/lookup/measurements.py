"""Measurements in a DVC remote, by their keys: they lie at its root beside DVC's own `files`, under names of their own.

DVC itself reaches remotes of any kind, in a process of its own; see `dvc_remotes`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from weighbridge.core.errors import StateError
from weighbridge.core.files import atomic_write, read_bytes
from weighbridge.registry.lookup.asking import CannotAskError
from weighbridge.registry.lookup.dvc_remotes import PATIENCE, default_remote
from weighbridge.registry.lookup.location import has_remote, local_remote

LARGEST = 16 << 20
"""Bytes of a measurement that are read at all."""
_PUT = """
import sys
from dvc.repo import Repo
remote = Repo(sys.argv[1]).cloud.get_remote()
for local, name in zip(sys.argv[2::2], sys.argv[3::2]):
    path = remote.fs.join(remote.path, *name.split("/"))
    remote.fs.makedirs(remote.fs.parent(path), exist_ok=True)
    remote.fs.put_file(local, path)
"""
_GET = """
import sys
from dvc.repo import Repo
remote = Repo(sys.argv[1]).cloud.get_remote()
path = remote.fs.join(remote.path, *sys.argv[2].split("/"))
if remote.fs.exists(path):
    remote.fs.get_file(path, sys.argv[3])
"""


def fetch_measurement(root: Path, name: str) -> bytes | None:
    """The bytes of a file of the default DVC remote; None where that has none, or there is no remote.

    A remote that cannot be asked is a `CannotAskError`.
    """
    if not has_remote(root):
        return None
    place = local_remote(root)
    if place is not None:
        return _bounded(place / name)
    with tempfile.TemporaryDirectory() as folder:
        arrived = Path(folder) / "measurement.json"
        _python(root, _GET, str(root), name, str(arrived))
        return _bounded(arrived)


def push_measurements(root: Path, files: Sequence[tuple[str, bytes]]) -> None:
    """Put files, each a name and its bytes, into the default DVC remote; one that cannot be asked is a `StateError`."""
    if not files or not has_remote(root):
        return
    place = local_remote(root)
    if place is not None:
        for name, data in files:
            atomic_write(place / name, data)
        return
    with tempfile.TemporaryDirectory() as folder:
        words: list[str] = []
        for number, (name, data) in enumerate(files):
            local = Path(folder) / f"{number}.json"
            local.write_bytes(data)
            words += [str(local), name]
        _python(root, _PUT, str(root), *words)


def _bounded(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST:
        raise StateError(f"has more than {LARGEST} bytes, so it is no measurement", where=str(path))
    return read_bytes(path)


def _python(root: Path, script: str, *arguments: str) -> None:
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
        raise CannotAskError(f"could not be asked: {said}", where=f"DVC remote {default_remote(root)}")
