"""Tell another system of an alarm: one POST of JSON, signed with a shared secret.

`X-Weighbridge-Signature` is `sha256=` and the HMAC-SHA256, in hex, over the value of `X-Weighbridge-Time` (seconds
since 1970), a full stop, and the body: who knows the secret can tell a forged message and an old one.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weighbridge.core.errors import InputError, StateError

SECRET = "WEIGHBRIDGE_WEBHOOK_SECRET"  # noqa: S105  # the name of the variable, not its value
_SHORTEST = 16


@dataclass(frozen=True)
class Webhook:
    """Where to post, and the secret to sign with."""

    url: str
    secret: str

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        local = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise InputError("expected an https address", where="--notify")
        if len(self.secret) < _SHORTEST:
            raise InputError(f"the secret needs {_SHORTEST} characters or more", where=SECRET)

    def post(self, content: Mapping[str, Any], at: float) -> None:
        """Send it; a `StateError` where nobody took it. The error names the host, never the path: it may be a token."""
        body, moment = json.dumps(content, sort_keys=True).encode(), str(int(at))
        headers = {
            "Content-Type": "application/json",
            "X-Weighbridge-Time": moment,
            "X-Weighbridge-Signature": f"sha256={signature(self.secret, moment, body)}",
        }
        request = urllib.request.Request(self.url, body, headers, method="POST")  # noqa: S310  # the scheme was checked
        try:
            with urllib.request.urlopen(request, timeout=10):  # noqa: S310
                return
        except (urllib.error.URLError, TimeoutError, OSError, http.client.HTTPException) as error:
            host = urllib.parse.urlsplit(self.url).hostname
            said = getattr(error, "reason", error)
            raise StateError(f"the notification was not taken: {said}", where=str(host)) from error


def signature(secret: str, moment: str, body: bytes) -> str:
    """The hex HMAC-SHA256 of a message."""
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()
