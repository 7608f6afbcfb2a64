"""Requests to an OCI registry: who we are, redirects, refusals. The protocol itself stands in `distribution`.

A credential goes to the host that asked for it and never follows a redirect; TLS is never left by one.
Source: the token flow of the distribution project's specification, RFC 7617 and RFC 6750.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from weighbridge.core.errors import StateError
from weighbridge.core.files import parse_json
from weighbridge.registry.publish.credentials import Credentials
from weighbridge.registry.publish.oci_reference import Reference

ANSWER_LIMIT = 4 * 2**20
"""Bytes: the specification's own advice for the largest manifest, and more than any other answer needs."""
_CHUNK = 2**20
_USER_AGENT = "weighbridge"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects of downloads, but never from TLS to none."""

    def redirect_request(  # noqa: PLR0913, PLR0917  # urllib's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.lower().startswith("https://"):
            raise StateError(f"the registry redirects from https to {newurl.partition(':')[0]}", where=req.host)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Wire:
    """A connection's settings: one registry host, one repository, one login."""

    def __init__(
        self,
        reference: Reference,
        *,
        credentials: Credentials | None = None,
        plain_http: bool = False,
        patience: float = 60.0,
    ) -> None:
        """On loopback plain HTTP is spoken anyhow; elsewhere `plain_http` is the caller's explicit wish.

        `patience`: seconds that a single read or write may take.
        """
        self.host = reference.host
        self.where = f"{reference.host}/{reference.repository}"
        self.base = f"{'http' if plain_http or reference.loopback else 'https'}://{reference.host}"
        self._credentials = credentials
        self._patience = patience
        self._authorization: str | None = None
        handlers: list[urllib.request.BaseHandler] = [_Redirects()]
        if reference.loopback:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Path | bytes | None = None,
        absent: bool = False,
    ) -> Iterator[http.client.HTTPResponse | None]:
        """One request, twice if the registry asks who we are. `absent`: 404 gives None instead of an error."""
        with self._answer(method, url, headers or {}, body) as answer:
            if answer.status == http.HTTPStatus.NOT_FOUND and absent:
                yield None
            elif answer.status >= http.HTTPStatus.BAD_REQUEST:
                raise StateError(_refusal(answer), where=self.where, fix=_advice(answer.status))
            else:
                yield answer

    @contextmanager
    def _answer(
        self, method: str, url: str, headers: Mapping[str, str], body: Path | bytes | None
    ) -> Iterator[http.client.HTTPResponse]:
        answer = self._once(method, url, headers, body)
        if answer.status == http.HTTPStatus.UNAUTHORIZED and self._authorize(answer):
            answer.close()
            answer = self._once(method, url, headers, body)
        with answer:
            yield answer

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: Path | bytes | None
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(url, method=method, headers={"User-Agent": _USER_AGENT, **headers})  # noqa: S310  # http(s) by construction
        if self._authorization and urllib.parse.urlsplit(url).netloc == self.host:
            request.add_unredirected_header("Authorization", self._authorization)
        return self._open(request, body)

    def _open(self, request: urllib.request.Request, body: Path | bytes | None) -> http.client.HTTPResponse:
        try:
            if isinstance(body, Path):
                with body.open("rb") as file:
                    request.data = file
                    answer: http.client.HTTPResponse = self._opener.open(request, timeout=self._patience)
                    return answer
            request.data = body
            answer = self._opener.open(request, timeout=self._patience)
        except urllib.error.HTTPError as error:
            return error  # type: ignore[return-value]  # it is a response too, with status and headers
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise StateError(f"cannot be reached: {reason}", where=self.host) from error
        return answer

    def read(self, answer: http.client.HTTPResponse, limit: int = _CHUNK) -> bytes:
        """The next part of an answer, of `limit` bytes at most; empty at its end.

        An answer that broke off ends early: its size and its digest tell.
        """
        try:
            return answer.read(limit)
        except http.client.IncompleteRead as error:
            return error.partial
        except (OSError, http.client.HTTPException) as error:
            raise StateError(f"stopped answering: {error}", where=self.host) from error

    def _authorize(self, answer: http.client.HTTPResponse) -> bool:
        """Answer a challenge; whether there is something new to try."""
        scheme, parameters = _challenge(answer.headers.get("WWW-Authenticate", ""))
        before = self._authorization
        if scheme == "basic" and self._credentials:
            self._authorization = self._credentials.basic()
        elif scheme == "bearer" and "realm" in parameters:
            self._authorization = f"Bearer {self._token(parameters)}"
        return self._authorization != before

    def _token(self, parameters: Mapping[str, str]) -> str:
        realm = parameters["realm"]
        if not realm.lower().startswith("https://" if self.base.startswith("https") else ("http://", "https://")):
            raise StateError(f"sends us for a token to {realm}", where=self.host)
        query = {key: parameters[key] for key in ("service", "scope") if key in parameters}
        request = urllib.request.Request(  # noqa: S310  # its scheme was checked above
            f"{realm}?{urllib.parse.urlencode(query)}", headers={"User-Agent": _USER_AGENT}
        )
        if self._credentials:
            request.add_unredirected_header("Authorization", self._credentials.basic())
        with self._open(request, None) as answer:
            if answer.status >= http.HTTPStatus.BAD_REQUEST:
                raise StateError(_refusal(answer), where=realm, fix=_advice(answer.status))
            content = parse_json(self.read(answer, ANSWER_LIMIT).decode(errors="replace"), realm)
        token = content.get("token") or content.get("access_token") if isinstance(content, dict) else None
        if not isinstance(token, str):
            raise StateError("gave no token", where=realm)
        return token


def _challenge(header: str) -> tuple[str, dict[str, str]]:
    scheme, _, rest = header.partition(" ")
    return scheme.lower(), {key.lower(): value for key, value in re.findall(r'(\w+)="([^"]*)"', rest)}


def _refusal(answer: http.client.HTTPResponse) -> str:
    """The registry's own words, if it has any, with the status."""
    said = ""
    try:
        errors = json.loads(answer.read(ANSWER_LIMIT))["errors"]
        said = "; ".join(f"{item.get('code', '')} {item.get('message', '')}".strip() for item in errors)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, http.client.HTTPException):
        said = answer.reason
    return f"refused with HTTP {answer.status}: {said}"


def _advice(status: int) -> str | None:
    known = {
        401: "log in with `docker login` or `oras login`",
        403: "this login may not do that",
        404: "check the repository's name",
        429: "too many requests: try again later",
    }
    return known.get(status)
