"""Compressed sizes: a tool's own where files are small, at one level for two files that are compared."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import zstandard

from weighbridge.core.formats import compressed
from weighbridge.core.formats.compressed import compressed_size, compressed_sizes, level, read_chunks, sizes_of_files


def test_compressed_sizes_are_those_of_the_tools() -> None:
    """Of a whole in one piece, also where it comes in chunks."""
    data = np.random.default_rng(1).integers(0, 9, 300_000).astype(np.uint8).tobytes()
    sizes = compressed_sizes(data)
    assert sizes["bytes"] == len(data)
    assert sizes["gzip"] == len(gzip.compress(data, 9, mtime=0))
    assert sizes["zstd"] == len(zstandard.ZstdCompressor(level=19).compress(data))
    for kind in ("gzip", "zstd"):
        parts = [data[start : start + 1000] for start in range(0, len(data), 1000)]
        assert compressed_size(parts, kind, level(kind, len(data)), len(data)) == sizes[kind]


@pytest.mark.parametrize(("size", "levels"), [(1, (9, 19)), (1 << 24, (9, 19)), (1 << 25, (6, 9)), (1 << 31, (1, 3))])
def test_large_files_are_compressed_faster(size: int, levels: tuple[int, int]) -> None:
    """Minutes of zstd -19 tell nothing that a gate needs."""
    assert (level("gzip", size), level("zstd", size)) == levels


def test_large_data_is_compressed_only_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory and in files; what nothing asked for is left out, not estimated."""
    monkeypatch.setattr(compressed, "UNASKED", 9)
    (tmp_path / "a").write_bytes(b"0123456789")
    for function, what in ((compressed_sizes, b"0123456789"), (sizes_of_files, [tmp_path / "a"])):
        assert function(what, ()) == {"bytes": 10}
        assert function(what, ("zstd",)).keys() == {"bytes", "zstd"}
    assert compressed_sizes(b"012345678", ()).keys() == {"bytes", "gzip", "zstd"}


def test_files_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, and no more of them in memory."""
    monkeypatch.setattr(compressed, "CHUNK", 4)
    for name, data in (("a", b"0123456"), ("b", b"789")):
        (tmp_path / name).write_bytes(data)
    assert list(read_chunks([tmp_path / "a", tmp_path / "b"])) == [b"0123", b"456", b"789"]
