"""The few requests to GitHub's REST API that a sticky comment and a proposal need, over the standard library.

Source: GitHub's OpenAPI description (the tests check every request against it).
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from weighbridge import __version__
from weighbridge.core.errors import InputError, StateError

API_VERSION = "2022-11-28"
PAGE = 100
_LARGEST_ANSWER = 32 * 2**20
_REPOSITORY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*/(?!\.{1,2}$)[A-Za-z0-9._-]+")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PASSING = frozenset({429, 500, 502, 503, 504})


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to whatever host it names."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Refuse: urllib then reports the redirect as an error."""


@dataclass(frozen=True)
class Comment:
    """One comment of a pull request's conversation."""

    number: int
    author: str
    body: str


@dataclass(frozen=True)
class ChangedFile:
    """One file of a pull request."""

    name: str
    before: str | None
    """Its name before it was renamed."""
    patch: str | None
    """The lines that differ; None where GitHub does not show them."""


class GitHub:
    """One repository on one GitHub server.

    `token` is sent to `api_url` alone, never in an error message. `pause` waits between tries (seconds).
    """

    def __init__(
        self, repository: str, token: str, api_url: str, pause: Callable[[float], None] = time.sleep, tries: int = 3
    ) -> None:
        if not _REPOSITORY.fullmatch(repository):
            raise InputError(f"{repository!r} is not 'owner/name'", where="GITHUB_REPOSITORY")
        address = urllib.parse.urlsplit(api_url)
        if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOOPBACK):
            raise InputError(f"{api_url!r} is not an https address", where="GITHUB_API_URL")
        if not token or not token.isascii() or not token.isprintable():
            raise InputError("is empty or not a token", where="GITHUB_TOKEN")
        self._base = f"{api_url.rstrip('/')}/repos/{repository}"
        self._token = token
        self._pause = pause
        self._tries = tries
        self._opener = urllib.request.build_opener(_NoRedirects)

    def open_pull_requests(self, owner: str, branch: str, commit: str) -> dict[int, str]:
        """Open pull requests from `owner:branch` whose head is `commit` now: number → the branch that each goes into.

        A pull request that has moved on to another commit is not among them: what was measured for the old one is
        stale.
        """
        query = {"state": "open", "head": f"{owner}:{branch}", "per_page": PAGE}
        return {
            int(pull["number"]): str(pull["base"]["ref"])
            for pull in self._pages("/pulls", query)
            if pull["head"]["sha"] == commit and pull["head"]["ref"] == branch
        }

    def create_pull_request(self, branch: str, base: str, title: str, body: str) -> str:
        """Propose a branch of this repository for another; the address of the new pull request."""
        content = {"title": title, "head": branch, "base": base, "body": body}
        return str(self._ask("POST", "/pulls", content)["html_url"])

    def files(self, pull_request: int) -> Iterator[ChangedFile]:
        """What a pull request changes; GitHub names the first 3,000 files alone."""
        for item in self._pages(f"/pulls/{pull_request}/files", {"per_page": PAGE}):
            yield ChangedFile(str(item["filename"]), item.get("previous_filename"), item.get("patch"))

    def comments(self, pull_request: int) -> Iterator[Comment]:
        """All comments in the pull request's conversation, oldest first."""
        for comment in self._pages(f"/issues/{pull_request}/comments", {"per_page": PAGE}):
            author = (comment.get("user") or {}).get("login", "")
            yield Comment(int(comment["id"]), author, comment.get("body") or "")

    def create_comment(self, pull_request: int, body: str) -> int:
        """Add a comment; returns its number."""
        return int(self._ask("POST", f"/issues/{pull_request}/comments", {"body": body})["id"])

    def update_comment(self, comment: int, body: str) -> None:
        """Replace a comment's text."""
        self._ask("PATCH", f"/issues/comments/{comment}", {"body": body})

    def _pages(self, path: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            found = self._ask("GET", f"{path}?{urllib.parse.urlencode({**query, 'page': page})}")
            if not isinstance(found, list):
                raise StateError("GitHub answered with something else than a list", where=path)
            yield from found
            if len(found) < PAGE:
                return
            page += 1

    def _ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        for attempt in range(1, self._tries + 1):
            try:
                return self._once(method, path, content)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in _PASSING or attempt == self._tries:
                        raise StateError(
                            f"GitHub answered {method} with {error.code} {error.reason}",
                            where=path.partition("?")[0],
                            fix=_ADVICE.get(error.code),
                        ) from error
            except (OSError, HTTPException) as error:
                # A POST may have been carried out although its answer was lost: sent again, it would comment twice.
                if method == "POST" or attempt == self._tries:
                    raise StateError(f"GitHub could not be reached: {error}", where=path.partition("?")[0]) from error
            except ValueError as error:
                raise StateError("GitHub answered with something else than JSON", where=path) from error
            self._pause(2.0**attempt)
        raise AssertionError("unreachable")  # pragma: no cover

    def _once(self, method: str, path: str, content: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(  # noqa: S310  # the scheme was checked when the object was made
            self._base + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self._token}",
                "User-Agent": f"weighbridge/{__version__}",
                "X-GitHub-Api-Version": API_VERSION,
                **({} if content is None else {"Content-Type": "application/json"}),
            },
        )
        with self._opener.open(request, timeout=30) as answer:
            return json.loads(answer.read(_LARGEST_ANSWER))


_ADVICE = {
    401: "is GITHUB_TOKEN set and not expired?",
    403: "the job needs the permission 'pull-requests: write'",
    404: "the job needs the permission 'pull-requests: write'",
}
