"""A model's files as they are read: their bytes, and what the manifest says of them."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from weighbridge.core.documents import Manifest, Weighed
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.core.facts.targets import TARGETS, target_of_suffix
from weighbridge.core.files import read_bytes, sha256_bytes, sha256_file, sha256_named
from weighbridge.core.formats.compressed import Kind, compressed_size, read_chunks
from weighbridge.core.formats.onnx_file import Counts, Signature, counts, signature
from weighbridge.core.formats.onnx_precision import FLOAT32, roundoff
from weighbridge.core.formats.onnx_skim import skim_model
from weighbridge.core.operator_libraries import ForeignOperator, OperatorLibrary, foreign_operator


@dataclass(frozen=True)
class Model:
    """An artifact as the gate reads it, without running it."""

    name: str
    path: Path
    files: tuple[Path, ...]
    """The model's file first, then files of weights beside it."""
    digests: tuple[str, ...]
    """Of each of `files`, in their order: what was read is what must be staged and run."""
    digest: str
    """Of the file's bytes; of all files where weights lie beside it."""
    size: int
    """Bytes of all files."""
    counts: Counts | str
    """Parameters and multiply-accumulates, or why they are not known."""
    signature: Signature
    roundoff: float = FLOAT32
    """Of the narrowest floats that it computes in."""
    foreign: ForeignOperator | None = None
    """An operator that only a library of custom operators has."""
    libraries: tuple[OperatorLibrary, ...] = ()
    """What the runtime loads before the model."""

    def weighed(self) -> Weighed:
        """How a measurement names it."""
        return Weighed(name=self.name, digest=self.digest, bytes=self.size)

    def stage(self, folder: Path) -> tuple[tuple[str, str], ...]:
        """Copy the files into a folder of their own, so that nobody changes them while they are weighed.

        Returns (path, digest) of each; raises `MeasurementError` like `contents`. All folders are of equal depth and
        length: a longer path would move the worker's stack (Mytkowicz et al., "Producing wrong data without doing
        anything obviously wrong", 2009).
        """
        placed = []
        for source, digest in zip(self.files, self.digests, strict=True):
            target = folder / self._staged(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            hashed = hashlib.sha256()
            with target.open("wb") as file:
                for chunk in read_chunks([source]):
                    hashed.update(chunk)
                    file.write(chunk)
            self._same(source, digest, f"sha256:{hashed.hexdigest()}")
            placed.append((str(target), digest))
        return tuple(placed)

    def _staged(self, source: Path) -> str:
        """Name of one of its files within a folder of its own."""
        return f"model{self.path.suffix}" if source == self.path else source.relative_to(self.path.parent).as_posix()

    def compressed(self, kind: Kind, at: int) -> int:
        """Bytes of all files under gzip or zstd at a level."""
        return compressed_size(read_chunks(self.files), kind, at, self.size)

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """Name within a folder of its own, and bytes, of each file.

        Raises `MeasurementError` for a file that has changed since it was read: the verdict would name other bytes
        than those that ran.
        """
        for source, digest in zip(self.files, self.digests, strict=True):
            data = read_bytes(source)
            self._same(source, digest, sha256_bytes(data))
            yield self._staged(source), data

    def check_unchanged(self) -> None:
        """Raise `MeasurementError` where a file is no longer the one that was read."""
        for source, digest in zip(self.files, self.digests, strict=True):
            try:
                found = sha256_file(source)
            except InputError as error:
                raise MeasurementError(f"{source} was removed while it was weighed", where=self.name) from error
            self._same(source, digest, found)

    def stage_libraries(self, folder: Path) -> tuple[tuple[str, str], ...]:
        """Copy the libraries into a folder of their own; returns (path, digest), hashed before loading."""
        placed = []
        for library in self.libraries:
            target = folder / library.path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_bytes(library.path))
            placed.append((str(target), library.digest))
        return tuple(placed)

    def _same(self, source: Path, expected: str, found: str) -> None:
        if found != expected:
            raise MeasurementError(
                f"{source} was replaced while it was weighed: {expected[:19]}… was read, now it is {found[:19]}…",
                where=self.name,
                fix="weigh again once nothing writes to it",
            )


def read_model(path: Path, name: str, inputs: Sequence[str] = ()) -> Model:
    """Read and check a file; corrupt, truncated or unsafe ones are an `InputError` (see `onnx_skim.skim_model`).

    LiteRT and ExecuTorch files are graphs of fused and delegated operators: their parameters and multiply-accumulates
    are those of the manifest beside the file, if it is about these very bytes. So are names of ports where a file has
    none (ExecuTorch); `inputs` are taken where the manifest has none either and there is but one.
    """
    reader = TARGETS[target_of_suffix(path.suffix)].reader
    if reader is None:
        return _read_onnx(path, name)
    data = read_bytes(path)
    digest = sha256_bytes(data)
    manifest = _manifest(path, digest)
    names = manifest.ports if manifest is not None else {}
    given = names.get("inputs") or (inputs if len(inputs) == 1 else ())
    module = importlib.import_module(f"weighbridge.core.formats.{reader}")
    ports: Signature = module.signature(data, str(path), given, names.get("outputs", ()))
    known = _recorded(manifest, path)
    return Model(name, path, (path,), (digest,), digest, len(data), known, ports)


def _read_onnx(path: Path, name: str) -> Model:
    before = sha256_file(path)
    proto, outside = skim_model(path)
    files = (path, *(path.parent / beside for beside in outside))
    digests = tuple(map(sha256_file, files))
    named = {file.relative_to(path.parent).as_posix(): found for file, found in zip(files, digests, strict=True)}
    digest = digests[0] if _names_all(proto, named, path) else sha256_named(named)
    if digests[0] != before:
        raise InputError("changed while it was read", where=str(path), fix="weigh again once nothing writes to it")
    total = sum(file.stat().st_size for file in files)
    facts = counts(proto), signature(proto), roundoff(proto), foreign_operator(proto)
    return Model(name, path, files, digests, digest, total, *facts)


def _names_all(proto: ModelProto, files: Mapping[str, str], path: Path) -> bool:
    """Whether a model's file names the digest of every file beside it, so that its own digest stands for all of them.

    A file beside it that has another digest than it names is an `InputError`.
    """
    stated = {item.key: item.value for item in proto.metadata_props}
    beside = {name: digest for name, digest in files.items() if name != path.name}
    for name, digest in beside.items():
        if stated.get(name, digest) != digest:
            raise InputError(f"has other bytes than {path.name} names", where=str(path.parent / name))
    return all(name in stated for name in beside)


def _manifest(path: Path, digest: str) -> Manifest | None:
    """The manifest beside a file, if it is about the file's bytes."""
    beside = path.with_name("manifest.json")
    if not beside.exists():
        return None
    manifest = Manifest.read(beside)
    return manifest if manifest.artifact.digest == digest else None


def _recorded(manifest: Manifest | None, path: Path) -> Counts | str:
    """What the compress room counted on the network that the file was made from."""
    if manifest is None:
        return f"a {path.suffix} file does not say, and there is no manifest of these bytes beside it"
    if manifest.sizes.params == 0:
        return "its manifest records none"
    unknown = getattr(manifest.sizes, "macs_unknown", ())  # recorded where there are such operators alone
    return Counts(manifest.sizes.params, manifest.sizes.macs, tuple(unknown))
