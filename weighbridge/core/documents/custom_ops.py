"""The section `custom_ops` of params.yaml: libraries of operators that the runtime may load, by their digests."""

from __future__ import annotations

from pydantic import Field

from weighbridge.core.documents.base import Written


class CustomOps(Written):
    """One shared library. It is code that runs where models are built and weighed: none is loaded that is not named."""

    path: str = Field(min_length=1)
    """Of the library, from the project's folder."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of its bytes, 64 hexadecimal digits, as `sha256sum` prints them."""
