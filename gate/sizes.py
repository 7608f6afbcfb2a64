"""The facts of a file: bytes as stored and compressed, parameters, multiply-accumulates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weighbridge.documents import Absent, Evidence, Exact, Weighed
from weighbridge.files import read_bytes, sha256_bytes, sha256_file, sha256_tree
from weighbridge.onnxfile import Counts, Signature, compressed_sizes, counts, external_files, load_model, signature


@dataclass(frozen=True)
class Model:
    """An artifact as the gate reads it, without running it."""

    name: str
    path: Path
    files: tuple[Path, ...]
    """The model's file first, then files of weights beside it."""
    digest: str
    sizes: Mapping[str, int]
    counts: Counts
    signature: Signature

    def weighed(self) -> Weighed:
        """How a measurement names it."""
        return Weighed(name=self.name, digest=self.digest, bytes=self.sizes["bytes"])

    def stage(self, folder: Path) -> tuple[tuple[str, str], ...]:
        """Copy the files into a folder of their own, so that nobody changes them while they are weighed.

        Returns (path, digest) of each. All folders are of equal depth and length: a longer path would move the
        worker's stack (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong", 2009).
        """
        placed = []
        for source in self.files:
            target = folder / ("model.onnx" if source == self.path else source.relative_to(self.path.parent))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            placed.append((str(target), sha256_file(target)))
        return tuple(placed)


def read_model(path: Path, name: str) -> Model:
    """Read and check a file; corrupt, truncated or unsafe ones are an `InputError` (see `onnxfile.load_model`)."""
    proto = load_model(path)
    outside = external_files(path)
    files = (path, *outside)
    data = b"".join(read_bytes(file) for file in files)
    digest = sha256_tree(list(files), path.parent) if outside else sha256_bytes(data)
    return Model(name, path, files, digest, compressed_sizes(data), counts(proto), signature(proto))


def facts(candidate: Model, reference: Model) -> dict[str, Evidence]:
    """Evidence of every exact metric."""
    found: dict[str, Evidence] = {
        f"size.{key}": Exact(candidate=candidate.sizes[key], reference=reference.sizes[key])
        for key in ("bytes", "gzip", "zstd")
    }
    for key in ("params", "macs"):
        found[key] = _counted(key, candidate, reference)
    return found


def _counted(key: str, candidate: Model, reference: Model) -> Evidence:
    for model in (reference, candidate):
        if key == "macs" and model.counts.unknown:
            return Absent(reason=f"cannot be computed for {', '.join(model.counts.unknown)} in the {model.name}")
    return Exact(candidate=getattr(candidate.counts, key), reference=getattr(reference.counts, key))
