"""GitHub's REST API as its published OpenAPI description has it, on loopback: for comments and pull requests.

Every request is checked against the description (path, method, parameters, body, headers), and every answer that
this server gives is the description's own example, changed and checked in the same way. A request that does not fit
is answered with 422 and kept in `refused`.
"""

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

DESCRIPTION = Path(__file__).parent / "fixtures" / "github" / "api.github.com.json"
_PATHS = (
    "/repos/{owner}/{repo}/pulls",
    "/repos/{owner}/{repo}/pulls/{pull_number}/files",
    "/repos/{owner}/{repo}/issues/{issue_number}/comments",
    "/repos/{owner}/{repo}/issues/comments/{comment_id}",
)
_EXAMPLES = ("pull-request-simple-items", "issue-comment", "diff-entry-items")


def reduced(openapi: dict[str, Any]) -> dict[str, Any]:
    """What the operations on pull requests and comments need of GitHub's description; see the fixture's README."""
    made = {"openapi": openapi["openapi"], "info": openapi["info"], "paths": {}, "components": {}}
    wanted = [f"components/examples/{name}" for name in _EXAMPLES]
    for path in _PATHS:
        made["paths"][path] = openapi["paths"][path]
        wanted += _references(openapi["paths"][path])
    while wanted:
        kind, name = wanted.pop().split("/")[1:]
        group = made["components"].setdefault(kind, {})
        if name not in group:
            group[name] = openapi["components"][kind][name]
            wanted += _references(group[name])
    return made


def _references(value: object) -> list[str]:
    if isinstance(value, list):
        return [found for item in value for found in _references(item)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"].removeprefix("#/")] if isinstance(value.get("$ref"), str) else []
    return own + [found for item in value.values() for found in _references(item)]


class Api:
    """The description, and what a repository holds: `pulls` and `comments` (lists), who asks (`login`)."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        self.openapi = openapi
        self.registry = Registry().with_resource("urn:github", Resource(contents=openapi, specification=DRAFT4))  # type: ignore[call-arg]
        self.login = "github-actions[bot]"
        self.token = "test-token"  # no secret: this server is on loopback
        self.pulls, self.comments, self.requests, self.refused = [], [], [], []
        self.files = {}
        self.failures = []
        self.url = ""

    def example(self, name: str) -> Any:
        """A copy of one of the description's examples."""
        return json.loads(json.dumps(self.openapi["components"]["examples"][name]["value"]))

    def add_pull(self, number: int, branch: str, sha: str, owner: str = "octocat", base: str = "main") -> None:
        """An open pull request from `owner:branch`."""
        pull = self.example("pull-request-simple-items")[0]
        pull["number"] = number
        pull["requested_teams"] = []  # the description's example of a team does not fit its own schema
        pull["head"].update({"ref": branch, "sha": sha, "label": f"{owner}:{branch}"})
        pull["base"]["ref"] = base
        self.pulls.append(pull)

    def add_proposed(self, body: dict[str, Any]) -> dict[str, Any]:
        """A pull request as one asked for it."""
        number = len(self.pulls) + 1
        self.add_pull(number, body["head"], "a" * 40, base=body["base"])
        none = dict.fromkeys(("additions", "changed_files", "comments", "commits", "deletions", "review_comments"), 1)
        self.pulls[-1] |= {
            **none, "title": body["title"], "body": body["body"], "mergeable": None, "mergeable_state": "unknown",
            "merged": False, "maintainer_can_modify": False, "merged_by": None,
            "html_url": f"https://github.com/octocat/Hello-World/pull/{number}",
        }  # fmt: skip
        return self.pulls[-1]

    def add_file(self, pull: int, name: str, **fields: Any) -> None:
        """A file that a pull request changes."""
        self.files.setdefault(pull, []).append({**self.example("diff-entry-items")[0], "filename": name, **fields})

    def add_comment(self, pull: int, body: str, login: str) -> int:
        """A comment in a pull request's conversation; its number."""
        comment = self.example("issue-comment")
        comment.update({"id": len(self.comments) + 1, "body": body, "pull": pull})
        comment["user"]["login"] = login
        self.comments.append(comment)
        return comment["id"]

    def validate(self, schema: dict[str, Any], value: object) -> None:
        """Check a value against a schema of the description (OpenAPI 3.0: `nullable` allows null)."""
        jsonschema.Draft4Validator(_nullable(schema, self.openapi), registry=self.registry).validate(value)

    def operation(self, method: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The description's operation and path values of a request."""
        for template, operations in self.openapi["paths"].items():
            match = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template), path)
            if match and method.lower() in operations:
                return operations[method.lower()], {key: unquote(value) for key, value in match.groupdict().items()}
        raise LookupError(f"{method} {path} is no operation of the API")

    def check_parameters(
        self, operation: dict[str, Any], given_path: dict[str, str], given_query: dict[str, list[str]]
    ) -> None:
        """Every parameter is known and has the type that the description gives it."""
        known = {}
        for item in map(self.resolve, operation.get("parameters", [])):
            known[item["in"], item["name"]] = item["schema"]
        given = {("path", name): value for name, value in given_path.items()}
        given.update({("query", name): values[-1] for name, values in given_query.items()})
        for key, value in given.items():
            if key not in known:
                raise LookupError(f"{key} is no parameter of the operation")
            schema = known[key]
            self.validate(schema, int(value) if self.resolve(schema).get("type") == "integer" else value)

    def resolve(self, item: dict[str, Any]) -> dict[str, Any]:
        """Follow a `$ref` within the description."""
        while "$ref" in item:
            found = self.openapi
            for part in item["$ref"].removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/")]
            item = found
        return item

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Status and content, by the state of the repository."""
        operation, values = self.operation(method, path)
        self.check_parameters(operation, values, query)
        if "requestBody" in operation:
            self.validate(operation["requestBody"]["content"]["application/json"]["schema"], body)
            if len(body["body"]) > 65_536:
                raise ValueError("body is too long (maximum is 65536 characters)")
        status, content = self.act(method, path, values, query, body)
        schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        self.validate(schema, content)
        return status, content

    def act(
        self, method: str, path: str, values: dict[str, str], query: dict[str, list[str]], body: Any
    ) -> tuple[int, Any]:
        """Carry a valid request out."""
        page, size = int(query.get("page", ["1"])[-1]), int(query.get("per_page", ["30"])[-1])
        some = slice((page - 1) * size, page * size)
        if method == "POST" and path.endswith("/pulls"):
            return 201, self.add_proposed(body)
        if path.endswith("/pulls"):
            head = query["head"][-1]
            return 200, [pull for pull in self.pulls if pull["head"]["label"] == head][some]
        if path.endswith("/files"):
            return 200, self.files.get(int(values["pull_number"]), [])[some]
        if method == "GET":
            return 200, [item for item in self.comments if item["pull"] == int(values["issue_number"])][some]
        if method == "POST":
            self.add_comment(int(values["issue_number"]), body["body"], self.login)
            return 201, self.comments[-1]
        comment = next(item for item in self.comments if item["id"] == int(values["comment_id"]))
        comment["body"] = body["body"]
        return 200, comment

    @contextmanager
    def serve(self) -> Iterator[Any]:
        """Run on a free port of loopback; `url` is the address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            address = urlsplit(self.path)
            api.requests.append((self.command, self.path, body))
            if api.failures:
                return self.reply(*api.failures.pop(0))
            if self.headers.get("Authorization") != f"Bearer {api.token}":
                return self.reply(401, {"message": "Bad credentials"})
            try:
                answer = api.answer(self.command, address.path, parse_qs(address.query), body)
            except (LookupError, ValueError, TypeError, jsonschema.ValidationError) as error:
                api.refused.append(str(error))
                return self.reply(422, {"message": str(error)})
            return self.reply(*answer)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815  # http.server's names

        def reply(self, status: int, content: object, **headers: str) -> None:
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _nullable(schema: Any, openapi: dict[str, Any], depth: int = 0) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema, references made absolute."""
    if isinstance(schema, list):
        return [_nullable(item, openapi, depth) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = openapi
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/")]
        # Deep enough for comments and pull requests; below, anything goes.
        return _nullable(target, openapi, depth + 1) if depth < 4 else {}
    changed = {key: _nullable(value, openapi, depth) for key, value in schema.items() if key != "example"}
    if schema.get("nullable") is True:
        changed.pop("enum", None)
        return {"anyOf": [{"type": "null"}, changed]}
    return changed


if __name__ == "__main__":  # the fixture anew: python -m tests.github_api generated/api.github.com.json
    whole = json.loads(Path(sys.argv[1]).read_text())
    DESCRIPTION.write_text(json.dumps(reduced(whole), indent=1, sort_keys=True) + "\n")
