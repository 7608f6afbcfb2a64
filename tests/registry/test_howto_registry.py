"""The commands of the how-to pages about the registry, run as they are printed, on a project with two versions.

Names are replaced by the project's own, an OCI registry and Prometheus by what runs here. A command of a page that is
not run is named, with the reason, where the page is followed: another one on the page fails the test.
"""

import json
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from typer.testing import CliRunner

from tests.howto import FOLDER, blocks, commands
from tests.registry.project import MODEL, commit_all, git, write_run
from tests.registry.publish import servers
from weighbridge.cli import app
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.trust.signing import require_trusted


@pytest.fixture
def typed(promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Typist":
    """Types commands in a clone of a repository whose registry has v1 and, stable, v2; answers what was printed."""
    bare = tmp_path / "remote.git"
    git(tmp_path, "clone", "-q", "--bare", str(promoted), str(bare))
    git(promoted, "remote", "add", "origin", str(bare))
    git(promoted, "fetch", "-q")
    git(promoted, "branch", "-q", "--set-upstream-to=origin/main")
    monkeypatch.chdir(promoted)
    return Typist(promoted)


class Typist:
    """`ran` are the commands that were typed, as on the page."""

    def __init__(self, root: Path) -> None:
        self.root, self.ran = root, []

    def type(self, words: list[str], replaced: dict[str, str], code: int = 0) -> str:
        """Type one command of a page with some of its words replaced."""
        self.ran.append(words)
        given = {"my-net": MODEL, **replaced}
        names = {name: given[name] for name in sorted(given, key=len, reverse=True)}
        ours = [re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], word) for word in words]
        if ours[0] != "weighbridge":
            return subprocess.run(ours, cwd=self.root, check=True, capture_output=True, text=True).stdout
        done = CliRunner().invoke(app, ours[1:])
        assert done.exit_code == code, (words, done.output, done.exception)
        return done.output

    def page(self, name: str, replaced: dict[str, str], leave_out: Sequence[str] = ()) -> list[Any]:
        """Type all commands of a page, in their order, but for those that begin in a way of `leave_out`."""
        said = []
        for words in commands(name):
            line = " ".join(words)
            if not any(line.startswith(left) for left in leave_out):
                said.append(self.type(words, replaced))
        unused = [left for left in leave_out if not any(" ".join(words).startswith(left) for words in commands(name))]
        assert not unused, f"{name}.md has no longer {unused}"
        return said


def inline(page: str, start: str) -> list[list[str]]:
    """Commands within a page's sentences, that begin in a certain way."""
    text = " ".join((FOLDER / f"{page}.md").read_text().split())
    return [shlex.split(found) for found in re.findall(r"`(weighbridge [^`]+)`", text) if found.startswith(start)]


def test_the_page_on_rolling_back(typed: Typist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh clone, what happened, back to what was stable before; then what the page says for the morning."""
    monkeypatch.chdir(tmp_path)
    clone, (cd, folder) = commands("rollback")[:2]
    assert (clone[:2], cd) == (["git", "clone"], "cd")
    subprocess.run(["git", "clone", "-q", tmp_path / "remote.git", folder], check=True)
    for name, value in {"user.name": "Test", "user.email": "test@example.org"}.items():
        git(tmp_path / folder, "config", name, value)
    (typed.root / ".dvc").rename(tmp_path / folder / ".dvc")  # the bytes, as where the pipeline ran
    monkeypatch.chdir(tmp_path / folder)
    said = typed.page("rollback", {}, leave_out=("git clone", "cd "))
    assert "promoted" in said[0]
    assert "v1" in said[1]
    assert said[2].startswith(f"{MODEL}@v1 sha256:")
    [lift] = [words for words in inline("rollback", "weighbridge registry quarantine") if "--lift" in words]
    typed.type(lift, {"v7": "v2"})
    [diff] = inline("rollback", "weighbridge registry diff")
    assert "sha256:" in typed.type(diff, {"v6": "v1", "v7": "v2"})
    now = datetime.now(UTC) + timedelta(seconds=5)
    [resolve] = inline("rollback", "weighbridge registry resolve")
    assert typed.type(resolve, {"2026-11-23T02:45:00Z": now.strftime("%Y-%m-%dT%H:%M:%SZ")})


def test_the_page_on_signing(typed: Typist, promoted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is made, its public half put into the policy as the page prints it, and a version signed; else refused."""
    replaced = {}
    generate, public, promote = [words for words in commands("signing") if words[0] in ("openssl", "weighbridge")][:3]
    typed.type(generate, replaced)
    pem = typed.type(public, replaced)
    required, keys, _ = [yaml.safe_load(block.text) for block in blocks("signing") if block.kind == "yaml"]
    assert list(keys["keys"]) == ["release"]
    (promoted / "registry.policy.yaml").write_text(yaml.safe_dump({**required, "keys": {"release": pem}}))
    (promoted / ".gitignore").write_text((promoted / ".gitignore").read_text() + "release.pem\n")
    write_run(promoted, 3)
    commit_all(promoted, "A policy and a run")
    git(promoted, "push", "-q", "origin", "HEAD:main")
    assert "would be unsigned" in str(CliRunner().invoke(app, promote[1:4]).exception)
    assert "promoted v3" in typed.type(promote, replaced)
    assert require_trusted(WorkTree(promoted), MODEL, "v3").key == "release"
    left = [words for words in commands("signing") if words not in typed.ran]
    # Over the network: sigstore's trust root, and its package. tests/registry/trust/test_keyless.py signs without keys.
    assert [words[0] if words[0] == "pip" else words[2] for words in left] == ["pip", "trust-root"]


def test_the_page_on_publishing(typed: Typist, promoted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes, an OCI registry with freshness, transport, card, bill of materials, manifests, tags and a site."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    key = promoted / "release.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True, capture_output=True)
    onnx.save(onnx.ModelProto(ir_version=8), promoted / "model.onnx")
    digest = sha256_bytes((promoted / "model.onnx").read_bytes())
    (tmp_path / "oci").mkdir()
    with servers.docker_registry(tmp_path / "oci") as (host, _):
        replaced = {
            "my-net@v7": f"{MODEL}@v2", "my-net@v6": f"{MODEL}@v1", "ghcr.io/acme/my-net": f"{host}/acme/{MODEL}",
            "sha256:…": digest, "…": "s3://m/{version}",
            "litert": "onnxruntime", "/var/lib/my-net": str(tmp_path),
        }  # fmt: skip
        typed.page(
            "publishing",
            replaced,
            leave_out=(
                "docker login",  # of somebody's account
                "weighbridge registry pull my-net@v6",  # three ways to the same folder: below
                "weighbridge registry pull oci://",  # of a signed version: tests/registry/publish/test_freshness.py
            ),
        )
    for words in commands("publishing", "weighbridge"):
        if words[:4] == ["weighbridge", "registry", "pull", "my-net@v6"] and "--dvc-remote" not in words:
            out = [] if "--out" in words else ["--out", str(tmp_path / words[-1])]
            typed.type([*words, *out], replaced)
    for made in (f"{MODEL}@v2/model.onnx", "README.md", "my-net.cdx.json", "deploy/stable.yaml", "public/index.html"):
        assert (promoted / made.replace("my-net", MODEL)).is_file(), made


def log_of(root: Path, path: Path, versions: tuple[str, ...], count: int = 3000, since: datetime | None = None) -> None:
    """Add requests that some versions answered, all well: since a moment, or since the last change of the channels."""
    channels = yaml.safe_load((root / f"registry/models/{MODEL}/channels.yaml").read_text())
    since = since or datetime.fromisoformat((channels.get("canary") or channels["stable"])["since"])
    [example] = [json.loads(" ".join(block.text.splitlines())) for block in blocks("canary") if block.kind == "json"]
    with path.open("a") as file:
        for number in range(count):
            at = since + timedelta(seconds=0.0001 * number)
            for version in versions:
                line = {
                    **example,
                    "model": MODEL,
                    "version": version,
                    "id": f"{since}/{number}",
                    "time": at.isoformat(),
                }
                file.write(json.dumps({**line, "stable_prediction": "7", "confidence": 0.9}) + "\n")


def test_the_page_on_canaries(typed: Typist, promoted: Path, tmp_path: Path) -> None:
    """The policy as printed, two promotions, start, a look at the page's own kind of log, and the state."""
    [policy] = [block.text for block in blocks("canary") if block.kind == "yaml"]
    (promoted / "registry.policy.yaml").write_text(policy)
    write_run(promoted, 3)
    commit_all(promoted, "A policy and a run")
    git(promoted, "config", "user.email", "ada@example.org")
    git(promoted, "push", "-q", "origin", "HEAD:main")
    replaced = {"my-net": MODEL, "slim-int8": "fp16", "v8": "v4", "prometheus=http://prometheus:9090": "requests.jsonl"}
    at_once, recorded, start, judge, status = commands("canary")
    assert "v3" in typed.type(at_once, replaced)
    typed.type(["weighbridge", "registry", "canary", "abort", MODEL, "--reason", "the other way of the page"], {})
    write_run(promoted, 4)
    commit_all(promoted, "Another run")
    git(promoted, "push", "-q", "origin", "HEAD:main")
    assert "v4" in typed.type(recorded, replaced)
    typed.type(start, replaced)
    log_of(promoted, promoted / "requests.jsonl", ("v4", "v2"))
    assert typed.type(judge, replaced, code=3).startswith("hold: v4 at 5%: ")
    assert "v4" in typed.type(status, replaced)


def test_the_page_on_watching(typed: Typist, promoted: Path) -> None:
    """The section of the policy, a look that records the window, and a second one; `serve` is run by tests/serve."""
    pytest.importorskip("river")
    [section] = [yaml.safe_load(block.text) for block in blocks("watch") if block.kind == "yaml"]
    (promoted / "registry.policy.yaml").write_text(yaml.safe_dump(section))
    commit_all(promoted, "A policy")
    git(promoted, "push", "-q", "origin", "HEAD:main")
    log_of(promoted, promoted / "requests.jsonl", ("v2",), count=5000)
    (promoted / "journal.jsonl").write_text("")
    replaced = {"fashion-cnn": MODEL, "CACHE/journal.jsonl": "journal.jsonl"}
    # Prometheus is asked by tests/registry/watch, over HTTP.
    serve, watch, prometheus, propose = commands("watch")
    assert (serve[1], prometheus[-1]) == ("serve", "prometheus=http://prometheus:9090")
    assert "no requests since the reference window" in typed.type(watch, replaced, code=3)
    time.sleep(2.1)  # the window ends on a second; what comes later is judged
    log_of(promoted, promoted / "requests.jsonl", ("v2",), count=5000, since=datetime.now(UTC) - timedelta(seconds=1))
    assert typed.type(watch, replaced)
    # No example can be proposed: this log has no inputs. tests/registry/watch/test_edge_cases.py proposes some.
    refused = CliRunner().invoke(app, [word.replace("fashion-cnn", MODEL) for word in propose[1:]])
    assert isinstance(refused.exception, WeighbridgeError)
