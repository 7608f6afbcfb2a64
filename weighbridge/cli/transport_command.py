"""`weighbridge transport pack|unpack`: an artifact under zstd for its way over a network, verified at its end."""

from __future__ import annotations

from pathlib import Path

import typer

from weighbridge.cli.usage import Application

app = Application(
    name="transport",
    help="Pack an artifact under zstd for its way over a network; unpack it, verified by its digest.",
)


@app.command()
def pack(
    file: Path = typer.Argument(..., help="The artifact, e.g. model.onnx."),
    out: Path | None = typer.Option(
        None, "--out", "-o", metavar="FILE", help="Where to; FILE.zst by default.", show_default=False
    ),
) -> None:
    """Write FILE.zst and print the digest that unpacking asks for. What is weighed and recorded is the file itself."""
    from weighbridge.core import transport
    from weighbridge.core.files import read_bytes

    data = read_bytes(file)
    path = out or file.with_name(file.name + transport.SUFFIX)
    digest = transport.write_zst(path, data)
    typer.echo(f"{path}: {path.stat().st_size} B of {len(data)} B\n{digest}")


@app.command()
def unpack(
    file: Path = typer.Argument(..., help="What `transport pack` wrote, e.g. model.onnx.zst."),
    digest: str = typer.Option(
        ..., "--digest", metavar="sha256:…", help="Of the artifact, from its manifest or record."
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", metavar="FILE", help="Where to; FILE without .zst by default.", show_default=False
    ),
) -> None:
    """Unpack an artifact whose SHA-256 is --digest; nothing is written where it is not."""
    from weighbridge.core import transport
    from weighbridge.core.errors import InputError
    from weighbridge.core.files import DIGEST, atomic_write

    if not DIGEST.fullmatch(digest):
        raise InputError(f"{digest!r} is not a digest", where="--digest", fix="sha256: and 64 hexadecimal digits")
    if out is None and file.suffix != transport.SUFFIX:
        raise InputError(f"does not end in {transport.SUFFIX}", where=str(file), fix="name the new file: --out")
    path = out or file.with_suffix("")
    data = transport.read_zst(file, digest)
    atomic_write(path, data)
    typer.echo(f"{path}: {len(data)} B\n{digest}")
