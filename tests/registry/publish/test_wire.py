"""The wire: tokens, redirects, refusals and registries that lie, against a small server that does what it is told."""

import base64
import contextlib
import hashlib
import http.server
import io
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from weighbridge.core.errors import IntegrityError, StateError
from weighbridge.registry.publish.credentials import Credentials
from weighbridge.registry.publish.distribution import INDEX, MANIFEST, Descriptor, Repository, describe, referrers_tag
from weighbridge.registry.publish.oci_reference import Reference
from weighbridge.registry.publish.wire import Wire

BLOB = b"weights " * 100
EMPTY = b"{}"
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()


class Scripted(http.server.BaseHTTPRequestHandler):
    """Answers by a table of the test: (method, path) → function of the request to (status, headers, body)."""

    def _answer(self) -> None:
        self.server.seen.append((self.command, self.path, dict(self.headers)))  # type: ignore[attr-defined]
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        path = self.path.partition("?")[0]
        rule = self.server.rules.get((self.command, path))  # type: ignore[attr-defined]
        status, headers, body = rule(self) if rule else (404, {}, b"")
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b"" if self.command == "HEAD" else body)

    do_GET = do_HEAD = do_POST = do_PUT = _answer  # noqa: N815  # http.server looks for these names

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(rules: Any) -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        server.rules, server.seen = rules, []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Any]:
    """A server whose rules the test fills in."""
    with serving({}) as found:
        yield found


def repository(server: Any, **options: Credentials) -> Repository:
    reference = Reference(f"127.0.0.1:{server.server_port}", "m")
    return Repository(reference, Wire(reference, patience=5, **options))


def answer(body: bytes = b"", status: int = 200, **headers: str) -> Callable[..., Any]:
    return lambda request: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def take(server: Any, descriptor: Descriptor | None = None, **options: Credentials) -> bytes:
    target = io.BytesIO()
    repository(server, **options).get_blob(descriptor or describe(BLOB, "x"), target)
    return target.getvalue()


def test_a_bearer_token_is_fetched_with_the_login_and_used_once_more(server: Any) -> None:
    """Challenge, token, the same request again: the flow that every large registry asks for."""
    realm = f"http://127.0.0.1:{server.server_port}/token"

    def blob(request: Any) -> tuple[int, dict[str, str], bytes]:
        if request.headers.get("Authorization") == "Bearer t0ken":
            return 200, {}, BLOB
        challenge = f'Bearer realm="{realm}",service="reg",scope="repository:m:pull"'
        return 401, {"WWW-Authenticate": challenge}, b""

    def token(request: Any) -> tuple[int, dict[str, Any], bytes]:
        assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()
        assert "service=reg" in request.path
        assert "scope=repository%3Am%3Apull" in request.path
        return 200, {}, json.dumps({"token": "t0ken"}).encode()

    server.rules.update({("GET", f"/v2/m/blobs/{DIGEST}"): blob, ("GET", "/token"): token})
    assert take(server, credentials=Credentials("me", "secret")) == BLOB


def test_basic_authentication_is_answered(server: Any) -> None:
    """Small registries ask for user and password directly."""

    def blob(request: Any) -> tuple[int, dict[str, str], bytes]:
        if request.headers.get("Authorization", "").startswith("Basic "):
            return 200, {}, BLOB
        return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""

    server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = blob
    assert take(server, credentials=Credentials("me", "secret")) == BLOB
    with pytest.raises(StateError, match=r"HTTP 401.*docker login"):
        take(server)


def test_a_login_that_is_refused_is_not_tried_forever(server: Any) -> None:
    """The second 401 is final."""
    server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = answer(status=401, WWW_Authenticate='Basic realm="x"')
    with pytest.raises(StateError, match="HTTP 401"):
        take(server, credentials=Credentials("me", "wrong"))
    assert len(server.seen) == 2


def test_a_redirect_is_followed_without_the_credential(server: Any) -> None:
    """Blobs often lie with a storage provider, whom our login is none of the business of."""
    with serving({("GET", "/far"): answer(BLOB)}) as other:
        server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = lambda request: (
            (307, {"Location": f"http://127.0.0.1:{other.server_port}/far"}, b"")
            if request.headers.get("Authorization")
            else (401, {"WWW-Authenticate": 'Basic realm="x"'}, b"")
        )
        assert take(server, credentials=Credentials("me", "secret")) == BLOB
        [(_, _, headers)] = other.seen
        assert "Authorization" not in headers


def test_a_redirect_away_from_tls_is_refused() -> None:
    """What was asked for over https is not fetched over http."""
    import urllib.request

    from weighbridge.registry.publish.wire import _Redirects

    request = urllib.request.Request("https://registry.example/v2/m/blobs/x")
    with pytest.raises(StateError, match="redirects from https to http"):
        _Redirects().redirect_request(request, None, 307, "", {}, "http://cdn.example/x")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BLOB[:-1] + b"!", "not what its digest says"),
        (BLOB[:-1], r"has 799 of 800 bytes"),
        (BLOB + b"more", "larger than the 800 bytes"),
        (b"", r"has 0 of 800 bytes"),
    ],
)
def test_bytes_other_than_promised_are_refused(server: Any, body: bytes, said: str) -> None:
    """Changed, cut, padded or empty."""
    server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = answer(body)
    with pytest.raises(IntegrityError, match=said):
        take(server)


def test_a_connection_that_breaks_off_is_noticed(server: Any) -> None:
    """The length was promised, the bytes did not come."""
    server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = answer(BLOB[:100], Content_Length="800")
    with pytest.raises((IntegrityError, StateError), match=r"has 100 of 800|stopped answering"):
        take(server)


def test_the_registrys_own_words_are_passed_on(server: Any) -> None:
    """Code and message of the error, with the status."""
    said = json.dumps({"errors": [{"code": "DENIED", "message": "quota exceeded"}]}).encode()
    server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = answer(said, 403)
    with pytest.raises(StateError, match="HTTP 403: DENIED quota exceeded"):
        take(server)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"errors": 5}', b"\xff"])
def test_a_refusal_without_sense_still_is_one_line(server: Any, body: bytes) -> None:
    """A proxy's error page is not a crash."""
    server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = answer(body, 502)
    with pytest.raises(StateError, match="HTTP 502"):
        take(server)


def test_a_manifest_that_does_not_hash_to_its_digest_is_refused(server: Any) -> None:
    """Neither under the digest that was asked for nor under the one that the registry claims."""
    server.rules[("GET", f"/v2/m/manifests/{DIGEST}")] = answer(EMPTY)
    server.rules[("GET", "/v2/m/manifests/v1")] = answer(EMPTY, Docker_Content_Digest=DIGEST)
    for name in (DIGEST, "v1"):
        with pytest.raises(IntegrityError, match="not what its digest says"):
            repository(server).manifest(name)


def test_a_manifest_without_end_is_refused(server: Any) -> None:
    """Four megabytes are read, no more."""
    server.rules[("GET", "/v2/m/manifests/v1")] = answer(b" " * (4 * 2**20 + 1))
    with pytest.raises(IntegrityError, match="larger than"):
        repository(server).manifest("v1")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"a": NaN}'])
def test_a_manifest_that_is_none_is_refused(server: Any, body: bytes) -> None:
    """Not JSON, not an object, not text."""
    server.rules[("GET", "/v2/m/manifests/v1")] = answer(body)
    with pytest.raises(IntegrityError, match="is not a manifest"):
        repository(server).manifest("v1").document("m")


def test_the_referrers_api_is_used_where_there_is_one(server: Any) -> None:
    """OCI 1.1: an index by digest; the tag is not asked for, and not written."""
    entry = {"mediaType": MANIFEST, "digest": DIGEST, "size": 2, "artifactType": "x/y"}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    server.rules[("GET", f"/v2/m/referrers/{DIGEST}")] = answer(index, Content_Type=INDEX)
    server.rules[("PUT", f"/v2/m/manifests/{describe(EMPTY, 'x').digest}")] = answer(status=201, OCI_Subject=DIGEST)
    there = repository(server)
    assert [item.artifact_type for item in there.referrers(DIGEST)] == ["x/y"]
    there.attach(EMPTY, DIGEST, "x/y")
    assert not [path for _, path, _ in server.seen if referrers_tag(DIGEST) in path]


def test_a_writer_who_loses_the_race_for_the_referrers_tag_tries_again(server: Any) -> None:
    """Another writer's entry is kept, and ours is added after it."""
    tag = f"/v2/m/manifests/{referrers_tag(DIGEST)}"
    state = {"index": None, "puts": 0}

    def put(request: Any) -> tuple[int, dict[str, Any], bytes]:
        state["puts"] += 1
        if state["puts"] == 1:  # somebody else writes after us
            other = {"mediaType": MANIFEST, "digest": "sha256:" + "b" * 64, "size": 1}
            state["index"] = json.dumps({"manifests": [other]}).encode()
        else:
            state["index"] = request.body
        return 201, {}, b""

    server.rules[("GET", tag)] = lambda request: (200, {}, state["index"]) if state["index"] else (404, {}, b"")
    server.rules[("PUT", tag)] = put
    server.rules[("PUT", f"/v2/m/manifests/{describe(EMPTY, 'x').digest}")] = answer(status=201)
    repository(server).attach(EMPTY, DIGEST, "x/y")
    assert state["puts"] == 2
    assert len(json.loads(state["index"])["manifests"]) == 2


@pytest.mark.parametrize(
    "value",
    [None, {}, {"digest": "md5:abc", "size": 1}, {"digest": DIGEST, "size": -1}, {"digest": DIGEST, "size": True}],
)
def test_a_descriptor_that_promises_nothing_is_refused(value: dict[str, Any] | None) -> None:
    """Without a sha256 and a size there is nothing to hold the bytes against."""
    with pytest.raises(IntegrityError):
        Descriptor.read(value, "m")


def test_a_registry_that_gives_no_place_to_upload_is_named(server: Any) -> None:
    """The upload's Location is required by the specification."""
    server.rules[("POST", "/v2/m/blobs/uploads/")] = answer(status=202)
    with pytest.raises(StateError, match="gave no place to upload"):
        repository(server).put_blob(BLOB, describe(BLOB, "x"))


def test_a_token_server_that_gives_no_token_is_named(server: Any) -> None:
    """An empty answer is no token."""
    realm = f"http://127.0.0.1:{server.server_port}/token"
    challenge = f'Bearer realm="{realm}"'
    server.rules[("GET", f"/v2/m/blobs/{DIGEST}")] = answer(status=401, WWW_Authenticate=challenge)
    server.rules[("GET", "/token")] = answer(b"{}")
    with pytest.raises(StateError, match="gave no token"):
        take(server)
