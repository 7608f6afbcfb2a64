"""What is done, by key: a stamp for the files of an item, a claim while it is worked on, a bundle to carry it.

A claim is a lock on the stamp's file, which the worker that does the item holds: whoever dies gives it back, and two
coordinators never do one item at once. A stamp names the digest of each file, so that what was changed or removed is
not done. For the same reason it is written in place, without waiting for the disk: a torn one is none.
"""

from __future__ import annotations

import fcntl
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from weighbridge.core.documents import Measurement
from weighbridge.core.documents.measurement import UNKNOWN_RUN, recorded_runs
from weighbridge.core.errors import InputError, IntegrityError, StateError, full_disk
from weighbridge.core.files import atomic_path, atomic_write, canonical_json, parse_json, sha256_bytes, sha256_file
from weighbridge.search.plan import Item

FOLDER = Path(".weighbridge") / "plan"


class Stamps:
    """The items that are done in one project's folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER

    def done(self, item: Item) -> bool:
        """Whether an item of this content was done, and its files are still those. Judging never is: it depends on the
        date too, by which waivers end.
        """
        path = self._path(item)
        if item.kind == "judge" or not path.is_file():
            return False
        known = _files_of(path.read_bytes(), path.name)
        return bool(known) and known == self._digests(item)

    def stamp(self, item: Item) -> None:
        """Say that an item is done; a `StateError` where it wrote nothing."""
        digests = self._digests(item)
        if not digests:
            raise StateError("wrote no file", where=f"{item.kind} {item.name}")
        self._write(item, canonical_json({"item": item.to_json(), "files": digests}))

    @contextmanager
    def claimed(self, item: Item) -> Iterator[None]:
        """Hold an item; waits for whoever else does it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._path(item).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def do(self, item: Item, work: Callable[[], int]) -> int:
        """Do an item that nobody has done yet, and stamp it; the exit code."""
        with self.claimed(item):
            if self.done(item):
                return 0
            code = work()
            if code == 0:
                self.stamp(item)
            return code

    def bundle(self, item: Item) -> bytes:
        """A done item as one file: its stamp, then its files."""
        stamp, out = self._path(item).read_bytes(), io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, data in [("stamp", stamp), *((path, self._read(path)) for path in self._digests(item))]:
                header = tarfile.TarInfo(name)
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))
        return out.getvalue()

    def take(self, item: Item, data: bytes, where: str) -> None:
        """Write down an item that was done elsewhere, unless it is done here too; see `put`."""
        with self.claimed(item):
            if not self.done(item):
                self.put(item, data, where)

    def put(self, item: Item, data: bytes, where: str) -> None:
        """Write the files of a bundle, by whoever claimed the item. An `IntegrityError` where it is about something
        else, or its files are not those of its stamp.
        """
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                found = {name: file.read() for name in archive.getnames() if (file := archive.extractfile(name))}
        except (tarfile.TarError, KeyError) as error:
            raise IntegrityError(f"is not a bundle of an item: {error}", where=where) from error
        stamp = found.pop("stamp", b"")
        digests = _files_of(stamp, where, item)
        odd = [name for name in found if not _belongs(item, PurePosixPath(name))]
        if odd or not digests or {name: sha256_bytes(content) for name, content in found.items()} != digests:
            raise IntegrityError(f"its files are not those of {item.kind} {item.name}", where=where)
        self._write(item, b"")
        for old in item.files(self.root):
            old.unlink()
        for name, content in found.items():
            atomic_write(self.root / name, content)
        self._write(item, stamp)

    def _write(self, item: Item, stamp: bytes) -> None:
        try:
            self._path(item).write_bytes(stamp)
        except OSError as error:
            where = str(self._path(item))
            raise full_disk(error, where=where) or StateError(
                f"cannot be written: {error.strerror}", where=where
            ) from error

    def _digests(self, item: Item) -> dict[str, str]:
        return {path.relative_to(self.root).as_posix(): sha256_file(path) for path in item.files(self.root)}

    def _read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def _path(self, item: Item) -> Path:
        return self.folder / file_name(item)


def file_name(item: Item) -> str:
    """Name of an item's stamp, and of its bundle without `.tar`."""
    return f"{item.kind}-{item.key.removeprefix('sha256:')}"


def write_bundle(stamps: Stamps, item: Item, folder: Path) -> None:
    """Write a done item's bundle into a folder."""
    with atomic_path(folder / f"{file_name(item)}.tar") as path:
        path.write_bytes(stamps.bundle(item))


def take_bundles(stamps: Stamps, items: Sequence[Item], folder: Path) -> list[Item]:
    """Take what a folder, or folders in it, have of these items; those that were taken. Bundles of other items, of
    before a change, stay where they are.
    """
    if not folder.is_dir():
        raise StateError("folder not found", where=str(folder))
    known = {f"{file_name(item)}.tar": item for item in items}
    taken = []
    for path in sorted(folder.rglob("*.tar")):
        if path.name in known:
            stamps.take(known[path.name], path.read_bytes(), str(path))
            taken.append(known[path.name])
    return taken


def measured_by(root: Path, item: Item) -> list[str]:
    """Who measured what a weighing gave, and when, as its measurements say; one that names no run: an unknown one."""
    paths = [path for path in item.files(root) if not path.name.endswith(".refusal.json")]
    runs = [run for path in paths for run in recorded_runs(Measurement.read(path)) or [UNKNOWN_RUN]]
    return list(dict.fromkeys(f"{run['by']}, {run['at']}" for run in runs))


def _belongs(item: Item, path: PurePosixPath) -> bool:
    """Whether an item may write this file."""
    folder = PurePosixPath(item.patterns[0].removesuffix("/**/*"))
    if ".." in path.parts:
        return False
    return path.is_relative_to(folder) if item.kind == "make" else any(map(path.match, item.patterns))


def _files_of(stamp: bytes, where: str, item: Item | None = None) -> dict[str, str]:
    """The files that a stamp names; none where it is about another item than the one that is asked for, or torn."""
    try:
        content = parse_json(stamp.decode("utf-8", errors="replace"), where)
    except InputError:  # a kill or a power cut left a part of it
        return {}
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or (item is not None and content["item"]["key"] != item.key):
        return {}
    return files


__all__ = ["Stamps", "file_name", "measured_by", "take_bundles", "write_bundle"]
