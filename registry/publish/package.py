"""A version as it travels: the model file, its record and its signed statement, together and checked."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import InputError, IntegrityError, StateError
from weighbridge.core.files import sha256_file
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.registry.state.records import StoredArtifact, VersionRecord

RECORD = "record.yaml"
STATEMENT = "statement.json"


@dataclass(frozen=True)
class Package:
    """One artifact of one version, with what confirms it."""

    record: VersionRecord
    record_bytes: bytes
    """As they stand in the registry: the digest in its history is over these."""
    artifact: StoredArtifact
    file: Path
    """Holds the artifact's bytes."""
    statement: bytes | None
    """The signed statement's file, where the version is signed."""
    channels: tuple[bytes, ...] = ()
    """Channel statements that came along, unverified; see `trust.freshness`."""
    weights: Path | None = None
    """Holds the artifact's weights, where they are a file of their own."""

    @property
    def name(self) -> str:
        """The artifact's file name."""
        return PurePosixPath(self.artifact.path).name


def read_record(data: bytes, where: str) -> VersionRecord:
    """A record from bytes that came from elsewhere; one that cannot be read is an `IntegrityError`."""
    try:
        return parse(VersionRecord, parse_yaml(data.decode(), where), where)
    except (UnicodeDecodeError, InputError) as error:
        raise IntegrityError(f"is not a version's record: {error}", where=where) from error


def choose(record: VersionRecord, target: str | None) -> StoredArtifact:
    """The record's artifact for a target; None is its only one. One that it was not built for, and none named where
    there are several, is an `InputError` that lists them.
    """
    fitting = [artifact for artifact in record.artifacts if target in (None, artifact.target)]
    if len(fitting) == 1:
        return fitting[0]
    name, built = f"{record.model}@{record.version}", ", ".join(artifact.target for artifact in record.artifacts)
    if not fitting:
        raise InputError(f"{name} was not built for {target!r}", fix=f"built for: {built}")
    raise InputError(f"{name} was built for {built}", fix="say which: --target NAME")


def plain_name(name: str, where: str) -> str:
    """A file name that stays in the folder that it is put into; any other is an `IntegrityError`."""
    parts = PurePosixPath(name).parts
    if len(parts) != 1 or parts[0] in (".", "..", "/") or "\\" in name or "\0" in name or name in (RECORD, STATEMENT):
        raise IntegrityError(f"names a file {name!r}, which is not a plain file name", where=where)
    return name


def unpack(package: Package, out: Path) -> Path:
    """Copy a package into the folder `out`, which appears whole or not at all; the path of the model file.

    The copy is hashed, not the source, so nothing can change in between. A folder that holds the same version
    already is left as it is; one that holds anything else is a `StateError`.
    """
    name = plain_name(package.name, package.record.model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        return _same(package, out, name)
    with _sibling(out) as folder:
        shutil.copyfile(package.file, folder / name)
        if sha256_file(folder / name) != package.artifact.digest:
            raise IntegrityError("does not have the digest that the record names", where=str(package.file))
        if package.artifact.weights is not None:
            _copy_weights(package, folder)
        (folder / RECORD).write_bytes(package.record_bytes)
        if package.statement is not None:
            (folder / STATEMENT).write_bytes(package.statement)
    return out / name


def _copy_weights(package: Package, folder: Path) -> None:
    weights = package.artifact.weights
    assert weights is not None  # the caller asks
    if package.weights is None:
        raise StateError("is two files, and only one came", where=f"{package.record.model}@{package.record.version}")
    copy = folder / plain_name(PurePosixPath(weights.path).name, package.record.model)
    shutil.copyfile(package.weights, copy)
    if sha256_file(copy) != weights.digest:
        raise IntegrityError("does not have the digest that the record names", where=str(package.weights))


def _same(package: Package, out: Path, name: str) -> Path:
    """The model file in a folder that already is this package."""
    weights = package.artifact.weights
    second = PurePosixPath(weights.path).name if weights is not None else None
    optional = [second, STATEMENT if package.statement is not None else None]
    expected = {name, RECORD, *(item for item in optional if item is not None)}
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    same = (
        found == expected
        and sha256_file(out / name) == package.artifact.digest
        and (weights is None or second is None or sha256_file(out / second) == weights.digest)
        and (out / RECORD).read_bytes() == package.record_bytes
        and (package.statement is None or (out / STATEMENT).read_bytes() == package.statement)
    )
    if not same:
        raise StateError("already exists and has other contents", where=str(out), fix="name another folder")
    return out / name


@contextmanager
def _sibling(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` if nothing fails."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
        try:
            yield folder
            folder.chmod(0o755)
            folder.rename(out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise StateError(f"cannot be written: {error.strerror or error}", where=str(out)) from error
