"""`.onnx.zst`: deterministic, verified, and safe to unpack."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighbridge.cli import main
from weighbridge.core import transport
from weighbridge.core.errors import InputError, IntegrityError
from weighbridge.core.files import sha256_bytes


@given(st.binary(max_size=5000))
def test_what_was_packed_unpacks(data: bytes) -> None:
    """Any bytes come back, and pack to the same frame twice."""
    frame = transport.compress(data)
    assert frame == transport.compress(data)
    assert transport.decompress(frame, sha256_bytes(data), "x") == data


def test_a_file_comes_back_by_its_digest(tmp_path: Path) -> None:
    """Writing gives the digest that reading asks for."""
    digest = transport.write_zst(tmp_path / "m.onnx.zst", b"model" * 100)
    assert transport.read_zst(tmp_path / "m.onnx.zst", digest) == b"model" * 100


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    """Bytes of another digest are never returned."""
    transport.write_zst(tmp_path / "m.onnx.zst", b"model")
    with pytest.raises(IntegrityError, match="unpacks to sha256"):
        transport.read_zst(tmp_path / "m.onnx.zst", sha256_bytes(b"another"))


@pytest.mark.parametrize("extra", [1, 1024, 4096])
def test_bytes_after_the_frame_are_refused(extra: int) -> None:
    """What follows the frame would not be verified."""
    frame = transport.compress(bytes(100))
    padded = frame + bytes(-len(frame) % 1024) + bytes(extra)
    for bad in (frame + bytes(extra), padded):
        with pytest.raises(InputError, match="after its end"):
            transport.decompress(bad, sha256_bytes(bytes(100)), "m.onnx.zst")


@given(st.integers(1, 40))
def test_truncated_frames_are_refused(cut: int) -> None:
    """However little is missing, a truncated frame is refused."""
    data = bytes(range(256)) * 8
    frame = transport.compress(data)
    with pytest.raises(InputError, match="is truncated"):
        transport.decompress(frame[:-cut], sha256_bytes(data), "x")


def test_a_bomb_stops_at_the_limit() -> None:
    """A small frame that would unpack to much more than allowed is stopped."""
    data = bytes(10_000_000)
    frame = transport.compress(data)
    assert len(frame) < 1000
    with pytest.raises(InputError, match="more than 1000000 bytes"):
        transport.decompress(frame, sha256_bytes(data), "bomb", limit=1_000_000)


def test_foreign_bytes_are_refused() -> None:
    """What is no zstd frame is named so; so is a broken one."""
    with pytest.raises(InputError, match="is not a zstd file"):
        transport.decompress(b"hello, world" * 10, sha256_bytes(b""), "x")
    frame = bytearray(transport.compress(bytes(range(200))))
    frame[-1] ^= 1
    with pytest.raises(InputError, match="is not a zstd file"):
        transport.decompress(bytes(frame), sha256_bytes(bytes(range(200))), "x")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Any]:
    """Run `weighbridge transport …` in an empty folder; what it printed."""

    def call(*arguments: str | Path, code: int = 0) -> Any:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["weighbridge", "transport", *map(str, arguments)])
        with contextlib.suppress(SystemExit) if code == 0 else pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        if code:
            assert ended.value.code == code, output.err
        return output.err if code else output.out

    return call


def test_the_command_packs_and_unpacks(run: Callable[..., Any], tmp_path: Path) -> None:
    """The digest that packing prints is what unpacking asks for; the file comes back byte by byte."""
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights " * 1000)
    said = run("pack", "model.onnx")
    digest = said.splitlines()[1]
    assert digest == sha256_bytes(b"weights " * 1000)
    packed = tmp_path / "model.onnx.zst"
    assert f"{packed.stat().st_size} B of 8000 B" in said
    model.unlink()
    run("unpack", "model.onnx.zst", "--digest", digest)
    assert model.read_bytes() == b"weights " * 1000
    run("pack", "model.onnx", "--out", "elsewhere.zst")
    assert (tmp_path / "elsewhere.zst").read_bytes() == packed.read_bytes()


def test_the_command_writes_nothing_that_is_not_asked_for(run: Callable[..., Any], tmp_path: Path) -> None:
    """Another digest, no digest, a file that is cut off or missing: one line, code 2, no file."""
    (tmp_path / "model.onnx").write_bytes(b"weights " * 1000)
    run("pack", "model.onnx")
    packed = tmp_path / "model.onnx.zst"
    other = sha256_bytes(b"other")
    assert f"expected {other}" in run("unpack", packed, "--digest", other, "--out", "new", code=2)
    assert "'v7' is not a digest" in run("unpack", packed, "--digest", "v7", "--out", "new", code=2)
    run("unpack", packed, "--out", "new", code=2)
    digest = sha256_bytes(b"weights " * 1000)
    packed.rename(tmp_path / "model.bin")
    assert "does not end in .zst" in run("unpack", "model.bin", "--digest", digest, code=2)
    (tmp_path / "cut.zst").write_bytes((tmp_path / "model.bin").read_bytes()[:-3])
    assert "is truncated" in run("unpack", "cut.zst", "--digest", digest, "--out", "new", code=2)
    run("unpack", "none.zst", "--digest", digest, "--out", "new", code=2)
    run("pack", "none.onnx", code=2)
    assert not (tmp_path / "new").exists()


def test_an_installation_without_the_library_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry alone installs without zstandard: one error that names it."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match="zstandard is not installed"):
        transport.compress(b"model")
