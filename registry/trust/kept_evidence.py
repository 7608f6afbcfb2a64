"""The verdict and measurements kept beside a record: each is what the record names, and nothing else lies there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from weighbridge.core.documents.base import parse
from weighbridge.core.errors import IntegrityError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.state.events import Event, EventKind
from weighbridge.registry.state.layout import FILE_LIMIT, View, evidence_path, model_folder, parse_mapping
from weighbridge.registry.state.records import VersionRecord

FOLDER = "evidence"
_KEEPS = (EventKind.MIGRATED, EventKind.REFERENCE_RECORDED)
_NAMED = re.compile(rb"\nevidence:((?: \{\}\n)|\n(?:  [^\s:]+: sha256:[0-9a-f]{64}\n)+)")
"""As this program writes it; another form is read as a document."""


def named_evidence(data: bytes, where: str) -> Mapping[str, str]:
    """Name → digest of what a record says is kept beside it."""
    if b"\nevidence:" not in data:
        return {}
    found = _NAMED.search(data)
    if found is None:
        return parse(VersionRecord, parse_mapping(data, where), where).evidence
    lines = found[1].decode().splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if line.startswith("  "))


def migrated_evidence(event: Event) -> Mapping[str, Mapping[str, str]]:
    """Version → what an event kept beside its record: a migration, or a reference window; empty for other kinds."""
    return event.evidence.get("kept", {}) if event.kind in _KEEPS else {}


def check_kept(view: View, model: str, version: str, named: Mapping[str, str]) -> set[str]:
    """Paths of the files that are kept beside a version; one that is missing or differs is an `IntegrityError`."""
    paths = set()
    for name, digest in named.items():
        where = evidence_path(model, version, name)
        data = view.read(where)
        if data is None:
            raise IntegrityError(f"is missing: the record of {version} names it", where=where)
        if sha256_bytes(data) != digest:
            raise IntegrityError(f"is not what the record of {version} names", where=where)
        paths.add(where)
    return paths


def kept_on_disk(root: Path, model: str) -> Iterator[str]:
    """Every file of a model's evidence folder; a link or an irregular file is an `IntegrityError`."""
    top = f"{model_folder(model)}/{FOLDER}"
    for folder, below, files in os.walk(root / top, onerror=_refuse):
        home = Path(folder).relative_to(root).as_posix()
        for name in (*below, *files):
            path = Path(folder) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise IntegrityError("is not a plain file", where=f"{home}/{name}")
        for name in files:
            if (Path(folder) / name).stat().st_size > FILE_LIMIT:
                raise IntegrityError(f"has more than {FILE_LIMIT} bytes", where=f"{home}/{name}")
            yield f"{home}/{name}"


def _refuse(error: OSError) -> None:
    raise IntegrityError(f"cannot be read: {error.strerror}", where=str(error.filename)) from error
