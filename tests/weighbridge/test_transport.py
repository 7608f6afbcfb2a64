"""`.onnx.zst`: deterministic, verified, and safe to unpack."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge import transport
from weighbridge.errors import InputError, IntegrityError
from weighbridge.files import sha256_bytes


@given(st.binary(max_size=5000))
def test_what_was_packed_unpacks(data):
    """Any bytes come back, and pack to the same frame twice."""
    frame = transport.compress(data)
    assert frame == transport.compress(data)
    assert transport.decompress(frame, sha256_bytes(data), "x") == data


def test_a_file_comes_back_by_its_digest(tmp_path):
    """Writing gives the digest that reading asks for."""
    digest = transport.write_zst(tmp_path / "m.onnx.zst", b"model" * 100)
    assert transport.read_zst(tmp_path / "m.onnx.zst", digest) == b"model" * 100


def test_other_bytes_are_refused(tmp_path):
    """Bytes of another digest are never returned."""
    transport.write_zst(tmp_path / "m.onnx.zst", b"model")
    with pytest.raises(IntegrityError, match="unpacks to sha256"):
        transport.read_zst(tmp_path / "m.onnx.zst", sha256_bytes(b"another"))


@pytest.mark.parametrize("extra", [1, 1024, 4096])
def test_bytes_after_the_frame_are_refused(extra):
    """What follows the frame would not be verified."""
    frame = transport.compress(bytes(100))
    padded = frame + bytes(-len(frame) % 1024) + bytes(extra)
    for bad in (frame + bytes(extra), padded):
        with pytest.raises(InputError, match="after its end"):
            transport.decompress(bad, sha256_bytes(bytes(100)), "m.onnx.zst")


@given(st.integers(1, 40))
def test_truncated_frames_are_refused(cut):
    """However little is missing, a truncated frame is refused."""
    data = bytes(range(256)) * 8
    frame = transport.compress(data)
    with pytest.raises(InputError, match="is truncated"):
        transport.decompress(frame[:-cut], sha256_bytes(data), "x")


def test_a_bomb_stops_at_the_limit():
    """A small frame that would unpack to much more than allowed is stopped."""
    data = bytes(10_000_000)
    frame = transport.compress(data)
    assert len(frame) < 1000
    with pytest.raises(InputError, match="more than 1000000 bytes"):
        transport.decompress(frame, sha256_bytes(data), "bomb", limit=1_000_000)


def test_foreign_bytes_are_refused():
    """What is no zstd frame is named so; so is a broken one."""
    with pytest.raises(InputError, match="is not a zstd file"):
        transport.decompress(b"hello, world" * 10, sha256_bytes(b""), "x")
    frame = bytearray(transport.compress(bytes(range(200))))
    frame[-1] ^= 1
    with pytest.raises(InputError, match="is not a zstd file"):
        transport.decompress(bytes(frame), sha256_bytes(bytes(range(200))), "x")
