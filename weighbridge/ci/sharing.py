"""Every output that a project's lock file names, brought to the DVC remote: `dvc pull` in a fresh clone finds them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from weighbridge.core.documents import Measurement
from weighbridge.core.dvc_files import MEASUREMENTS, Lock, file_md5, measurement_name
from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.core.files import atomic_path, read_bytes, read_yaml
from weighbridge.core.git import Git
from weighbridge.core.project import LOCK
from weighbridge.registry.lookup.asking import CannotAskError
from weighbridge.registry.lookup.location import cache_folder, has_remote
from weighbridge.registry.lookup.measurements import push_measurements
from weighbridge.registry.state.layout import safe_relative


def share(git: Git, root: Path) -> None:
    """Put the outputs of a project into DVC's cache under the names that its lock file has for them, and push them;
    its measurements by what they are about too, so that they are continued elsewhere.

    Raises `StateError` without a remote, or where it does not take them or has not what is not here;
    `IntegrityError` for an output that is not what the lock file says.
    """
    if not has_remote(git.root):
        raise StateError(
            "there is no DVC remote, so the bytes of a promoted version would be lost with this machine",
            where=".dvc/config",
            fix="dvc remote add --default NAME URL",
        )
    cache = cache_folder(git.root) / "files" / "md5"
    made = Lock.of(read_yaml(root / LOCK)).outs()
    here = {name: md5 for name, md5 in made.items() if safe_relative(name) and (root / name).exists()}
    for name, md5 in here.items():
        found = _keep_folder(root / name, cache) if (root / name).is_dir() else _keep(root / name, cache)
        if found != md5:
            raise IntegrityError("is not what dvc.lock says the pipeline made", where=name)
    _dvc(root, "push", *here)
    try:
        push_measurements(git.root, list(_by_content(root)))
    except CannotAskError as error:  # the bytes that the version names are there: others measure afresh, no more
        sys.stderr.write(f"weighbridge: note: measurements are not shared: {error}\n")
    elsewhere = [name for name in made if name not in here]
    if elsewhere:
        absent = _neither_here_nor_there(root, elsewhere)
        if absent:
            raise StateError(
                f"neither this run nor the DVC remote has {absent[0]}, which {LOCK} names",
                where=str(root),
                fix="dvc push",
            )


def _by_content(root: Path) -> Iterator[tuple[str, bytes]]:
    """Every measurement of a project, under the name that it has by its content."""
    for path in sorted((root / "measurements").rglob("*.json")):
        if not path.name.endswith(".refusal.json"):
            yield f"{MEASUREMENTS}/{measurement_name(Measurement.read(path).key())}", read_bytes(path)


def _neither_here_nor_there(root: Path, names: list[str]) -> list[str]:
    said = _dvc(root, "status", "--cloud", "--json", *names)
    try:
        states = json.loads(said or "{}")
    except ValueError as error:
        raise StateError("dvc status said something unreadable", where=str(root)) from error
    return [name for name, state in states.items() if state == "missing"]


def _dvc(root: Path, command: str, *arguments: str) -> str:
    done = subprocess.run(
        ["dvc", command, "--quiet", *arguments] if command == "push" else ["dvc", command, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[-1]
        raise StateError(f"dvc {command} failed: {said}", where=str(root), fix="can this job write to the DVC remote?")
    return done.stdout


def _keep_folder(folder: Path, cache: Path) -> str:
    """A folder as DVC keeps it: every file by its md5, and the list of them by its own."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = [{"md5": _keep(file, cache), "relpath": file.relative_to(folder).as_posix()} for file in files]
    entries.sort(key=lambda entry: entry["relpath"])
    listing = json.dumps(entries, sort_keys=True).encode()
    md5 = hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir"
    path = cache / md5[:2] / md5[2:]
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_bytes(listing)
    return md5


def _keep(file: Path, cache: Path) -> str:
    md5 = file_md5(file)
    path = cache / md5[:2] / md5[2:]
    if not path.exists():
        with atomic_path(path) as temporary:
            shutil.copyfile(file, temporary)
    return md5
