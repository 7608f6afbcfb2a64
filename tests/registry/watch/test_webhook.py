"""A notification that whoever knows the secret can check."""

import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from weighbridge.core.errors import InputError, StateError
from weighbridge.registry.watch.webhook import Webhook

SECRET = "a secret of some length"


@pytest.fixture
def receiver() -> Iterator[Any]:
    """A server that keeps what it gets; `status` is what it answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.got.append((dict(self.headers), body))  # type: ignore[attr-defined]
            self.send_response(server.status)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.got, server.status = [], 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/token/abc"


def test_a_message_is_signed_over_its_time_and_body(receiver: Any) -> None:
    """Another secret, another time or another body gives another signature."""
    Webhook(url(receiver), SECRET).post({"alarms": ["x"]}, at=1_000.7)
    ((headers, body),) = receiver.got
    assert json.loads(body) == {"alarms": ["x"]}
    assert headers["X-Weighbridge-Time"] == "1000"
    signed = {
        (secret, moment, content): hmac.new(secret.encode(), moment + b"." + content, hashlib.sha256).hexdigest()
        for secret in (SECRET, "another secret, as long")
        for moment in (b"1000", b"1001")
        for content in (body, body + b" ")
    }
    right = [known for known, digest in signed.items() if headers["X-Weighbridge-Signature"] == f"sha256={digest}"]
    assert right == [(SECRET, b"1000", body)]


def test_what_nobody_takes_is_an_error_that_keeps_the_token(receiver: Any) -> None:
    """The path of such an address is often the only secret of it."""
    receiver.status = 500
    with pytest.raises(StateError, match="not taken") as error:
        Webhook(url(receiver), SECRET).post({}, at=0)
    assert "token" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "secret", "said"),
    [
        ("http://example.com/x", SECRET, "https"),
        ("file:///etc/passwd", SECRET, "https"),
        ("https://example.com/x", "short", "16 characters"),
    ],
)
def test_no_message_goes_in_the_clear_or_unsigned(address: str, secret: str, said: str) -> None:
    """Refused before anything is looked at."""
    with pytest.raises(InputError, match=said):
        Webhook(address, secret)
