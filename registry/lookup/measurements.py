"""Measurements in a DVC remote, by their keys: they lie at its root beside DVC's own `files`, under names of their own.

DVC itself reaches remotes of any kind, in a process of its own; see `dvc_remotes`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from weighbridge.core.errors import StateError
from weighbridge.core.files import atomic_write, read_bytes
from weighbridge.registry.lookup.dvc_remotes import run_python
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
        run_python(root, _GET, str(root), name, str(arrived))
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
        run_python(root, _PUT, str(root), *words)


def _bounded(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST:
        raise StateError(f"has more than {LARGEST} bytes, so it is no measurement", where=str(path))
    return read_bytes(path)
