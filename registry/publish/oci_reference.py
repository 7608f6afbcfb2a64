"""Names of artifacts in OCI registries: `oci://host[:port]/repository[:tag][@sha256:…]`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from weighbridge.core.errors import InputError
from weighbridge.core.files import DIGEST

SCHEME = "oci://"
# OCI distribution specification 1.1, "Pulling manifests".
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")
_FORM = "oci://host[:port]/repository[:tag][@sha256:…]"


@dataclass(frozen=True)
class Reference:
    """Where an artifact is, or shall be."""

    host: str
    """With its port, if it has one."""
    repository: str
    tag: str | None = None
    digest: str | None = None
    """`sha256:…` of the manifest; it wins over the tag."""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{SCHEME}{self.host}/{self.repository}{tag}{digest}"

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine, where plain HTTP leaks nothing."""
        name = self.host.rpartition(":")[0] if re.search(r":[0-9]+$", self.host) else self.host
        if name.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(name.strip("[]")).is_loopback
        except ValueError:
            return False


def parse_reference(text: str) -> Reference:
    """Read a reference; anything that is none is an `InputError` that says which part is wrong."""
    if not text.startswith(SCHEME):
        raise InputError(f"{text!r} is not an OCI reference", fix=f"expected {_FORM}")
    rest, _, digest = text.removeprefix(SCHEME).partition("@")
    host, _, path = rest.partition("/")
    repository, _, tag = path.partition(":")
    parts = (
        ("host", host, _HOST, True),
        ("repository", repository, _REPOSITORY, True),
        ("tag", tag, _TAG, ":" in path),
        ("digest", digest, DIGEST, "@" in text),
    )
    for name, value, form, needed in parts:
        if needed and not form.fullmatch(value):
            hint = "in lower case" if name == "repository" and value != value.lower() else f"expected {_FORM}"
            raise InputError(f"{value!r} is not the {name} of an OCI reference", where=text, fix=hint)
    return Reference(host, repository, tag or None, digest or None)
