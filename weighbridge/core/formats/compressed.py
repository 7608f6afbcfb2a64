"""What files weigh compressed, as a stream: no file is held in memory."""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from weighbridge.core.opening import open_file

Kind = Literal["gzip", "zstd"]
KINDS: tuple[Kind, ...] = ("gzip", "zstd")
CHUNK = 1 << 22
LEVELS = ((1 << 24, {"gzip": 9, "zstd": 19}), (1 << 27, {"gzip": 6, "zstd": 9}))
"""Bytes up to which a level is taken. The strongest takes a second for 4 MB, and minutes for 600."""
FASTEST = {"gzip": 1, "zstd": 3}
"""Beyond: 600 MB take seconds."""
UNASKED = 1 << 25
"""Bytes up to which compressed sizes are taken that neither a budget nor a step asks for."""
_GZIP = 16 + zlib.MAX_WBITS


def level(kind: Kind, size: int) -> int:
    """The level for files of `size` bytes; two files that are compared take that of the larger one."""
    return next((levels[kind] for most, levels in LEVELS if size <= most), FASTEST[kind])


def compressed_size(chunks: Iterable[bytes | memoryview], kind: Kind, at: int, size: int) -> int:
    """Bytes of `size` bytes in chunks under gzip without a time stamp, or zstd, at a level."""
    if kind == "gzip":
        gzip = zlib.compressobj(at, zlib.DEFLATED, _GZIP)
        return sum(len(gzip.compress(chunk)) for chunk in chunks) + len(gzip.flush())
    import zstandard  # noqa: PLC0415  # an extra: whoever asks for gzip alone does without

    zstd = zstandard.ZstdCompressor(level=at).compressobj(size=size)
    return sum(len(zstd.compress(chunk)) for chunk in chunks) + len(zstd.flush())


def compressed_sizes(data: bytes, asked: Container[str] = KINDS) -> dict[str, int]:
    """Bytes as stored (`bytes`), and under `gzip` and `zstd` at the level for so many; of large data only if asked."""
    view = memoryview(data)
    chunks = [view[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    found: dict[str, int] = {
        kind: compressed_size(chunks, kind, level(kind, len(data)), len(data)) for kind in taken(len(data), asked)
    }
    return {"bytes": len(data), **found}


def sizes_of_files(files: Sequence[Path], asked: Container[str] = KINDS) -> dict[str, int]:
    """The same of files, one after the other."""
    size = sum(path.stat().st_size for path in files)
    found: dict[str, int] = {
        kind: compressed_size(read_chunks(files), kind, level(kind, size), size) for kind in taken(size, asked)
    }
    return {"bytes": size, **found}


def taken(size: int, asked: Container[str]) -> tuple[Kind, ...]:
    """The kinds that are worth their time for `size` bytes: all where it is short, else those that are asked for."""
    return tuple(kind for kind in KINDS if size <= UNASKED or kind in asked)


def read_chunks(files: Sequence[Path]) -> Iterator[bytes]:
    """The files' bytes, one after the other."""
    for path in files:
        with open_file(path) as file:
            while chunk := file.read(CHUNK):
                yield chunk
