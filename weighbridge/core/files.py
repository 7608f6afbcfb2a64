"""Files: strict YAML and JSON in, canonical JSON and YAML out, atomic writes, SHA-256 digests."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from weighbridge.core.errors import InputError, StateError, full_disk
from weighbridge.core.opening import open_file
from weighbridge.core.strict_yaml import parse_yaml

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def sha256_bytes(data: bytes | memoryview) -> str:
    """Digest of bytes, as `sha256:<64 hex digits>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def sha256_file(path: Path) -> str:
    """Digest of a file's bytes, as `sha256:<64 hex digits>`; an unreadable file is an `InputError`."""
    try:
        with open_file(path) as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def sha256_tree(paths: list[Path], root: Path) -> str:
    """Digest of several files: of the sorted lines `<path relative to root> <digest>`."""
    return sha256_named({path.relative_to(root).as_posix(): sha256_file(path) for path in paths})


def sha256_named(digests: Mapping[str, str]) -> str:
    """Digest of several files whose digests are known by their names: of the sorted lines `<name> <digest>`."""
    return sha256_bytes("\n".join(sorted(f"{name} {digest}" for name, digest in digests.items())).encode())


def read_bytes(path: Path) -> bytes:
    """A file's bytes; a missing, unreadable or irregular file is an `InputError` that names it."""
    try:
        with open_file(path) as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def read_yaml(path: Path) -> Any:
    """Read one YAML file; see `parse_yaml`."""
    return parse_yaml(_text(path), str(path))


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:40]} is out of range")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return keys


_UMASK = threading.Lock()
"""Reading the mask sets it for a moment: of two threads at once one would read 0, and leave the process with it."""
_STRICT = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
"""Made once: it costs more than a small document."""


def parse_json(text: str, where: str) -> Any:
    """Parse JSON. Refused as `InputError`: NaN and infinities (`1e999` too), which JSON does not have, duplicate keys,
    and surrogates, which no text has.
    """
    try:
        value = _STRICT.decode(text)
        if "\\ud" in text.lower():  # half of a surrogate pair would fail wherever it is written
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not valid JSON: {error}", where=where) from error
    return value


def read_json(path: Path) -> Any:
    """Read one JSON file; see `parse_json`."""
    return parse_json(_text(path), str(path))


def canonical_json(value: Any) -> bytes:
    """The one byte form of a JSON value that digests are taken over: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def pretty_json(value: Any) -> str:
    """JSON for people and diffs: two spaces, sorted keys, a final newline, no NaN."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; see `pretty_json` and `atomic_write`."""
    atomic_write(path, pretty_json(value).encode())


def dump_yaml(value: Any) -> str:
    """YAML for people and diffs: block style, keys in their given order, wide lines, Unicode as it is."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False)


def atomic_write(path: Path, data: bytes) -> None:
    """Replace `path` in one step: after a crash or a full disk it holds the old bytes or the new."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; moved into place on success, removed on any error.

    A full disk or a missing permission is a `StateError` that names the file; the old bytes stay.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        unwritten = StateError(f"cannot be written: {error.strerror or error}", where=str(path))
        raise full_disk(error, where=str(path)) or unwritten from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    with _UMASK:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", where=str(path)) from error
