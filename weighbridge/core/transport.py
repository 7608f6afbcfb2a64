"""`.onnx.zst`: an artifact under zstd for its way over a network, verified when it is unpacked.

What is measured, recorded and loaded is always the plain file; its digest decides. The compressed form is optional,
deterministic, and trusted by nobody: unpacking stops at a limit and compares the digest before anything is returned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weighbridge.core.errors import InputError, IntegrityError
from weighbridge.core.files import atomic_write, read_bytes, sha256_bytes

LEVEL = 19
SUFFIX = ".zst"
LIMIT = 2**31 - 1
"""Bytes that unpacking gives at most: what one ONNX message can hold."""


def compress(data: bytes) -> bytes:
    """One zstd frame of level 19 with its content size and checksum; equal bytes give equal frames."""
    zstandard = _library()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, source_size=len(data), write_checksum=True, write_content_size=True, threads=0
    )
    return bytes(zstandard.ZstdCompressor(compression_params=parameters).compress(data))


def write_zst(path: Path, data: bytes) -> str:
    """Write `data` as `path` (`….onnx.zst`), atomically; gives the digest of `data`, which reading asks for."""
    atomic_write(path, compress(data))
    return sha256_bytes(data)


def decompress(frame: bytes, digest: str, where: str, limit: int = LIMIT) -> bytes:
    """The bytes in one zstd frame, whose SHA-256 must be `digest` (`sha256:…`).

    Raises `InputError` where `frame` is not one whole zstd frame or holds more than `limit` bytes (a decompression bomb
    is stopped while it unpacks), and `IntegrityError` where the digest differs.
    """
    zstandard = _library()
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    parts: list[bytes] = []
    total = 0
    try:
        for start in range(0, len(frame), _STEP):
            if unpacker.eof:
                raise InputError("has bytes after its end", where=where)
            part = unpacker.decompress(frame[start : start + _STEP])
            parts.append(part)
            total += len(part)
            if total > limit:
                raise InputError(f"unpacks to more than {limit} bytes", where=where)
    except zstandard.ZstdError as error:
        raise InputError(f"is not a zstd file: {error}", where=where) from error
    if not unpacker.eof:
        raise InputError("is truncated", where=where)
    if unpacker.unused_data:
        raise InputError("has bytes after its end", where=where)
    data = b"".join(parts)
    found = sha256_bytes(data)
    if found != digest:
        raise IntegrityError(f"unpacks to {found}, expected {digest}", where=where)
    return data


def read_zst(path: Path, digest: str, limit: int = LIMIT) -> bytes:
    """Read, unpack and verify one file; see `decompress`."""
    return decompress(read_bytes(path), digest, str(path), limit)


def _library() -> Any:
    """zstandard, which an installation for the registry alone does not have."""
    try:
        import zstandard  # noqa: PLC0415
    except ImportError as error:
        raise InputError(
            "the library zstandard is not installed", where="transport", fix="pip install 'weighbridge[gate]'"
        ) from error
    return zstandard


_STEP = 2**10
"""Bytes fed at a time: zstd expands by up to 2^15 or so, so a step gives tens of megabytes at most."""
