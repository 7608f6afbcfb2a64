"""What production got wrong becomes a branch that adds it to the next test set."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.github_api import Api
from tests.registry.project import MODEL
from tests.registry.project import git as run_git
from weighbridge.core.errors import InputError, StateError
from weighbridge.core.git import Git
from weighbridge.registry.watch.edge_cases import edge_cases, propose
from weighbridge.registry.watch.seen_requests import Seen

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)


def seen(
    number: int, *, right: bool, slices: tuple[str] = (), sure: float = 0.5, inputs: dict[str, list[int]] | None = None
) -> Seen:
    """One labelled request."""
    return Seen(
        BEGIN + timedelta(seconds=number), str(number), prediction="1", label="1" if right else "0", confidence=sure,
        slices=slices, inputs=inputs,
    )  # fmt: skip


def test_the_worst_slice_comes_first_and_the_surest_error_in_it() -> None:
    """The same inputs are one example."""
    requests = [
        seen(0, right=False, slices=("day",), sure=0.99, inputs={"x": [0]}),
        *(seen(number, right=True, slices=("day",)) for number in range(1, 10)),
        seen(10, right=False, slices=("night",), sure=0.6, inputs={"x": [1]}),
        seen(11, right=False, slices=("night",), sure=0.9, inputs={"x": [2]}),
        seen(12, right=False, slices=("night",), sure=0.8, inputs={"x": [2]}),
    ]
    assert [case.inputs["x"] for case in edge_cases(requests, 10)] == [[2], [1], [0]]
    assert len(edge_cases(requests, 1)) == 1
    assert edge_cases([seen(0, right=True)], 10) == []


def test_errors_without_inputs_say_what_to_turn_on() -> None:
    """Nothing is made up."""
    with pytest.raises(StateError, match="no inputs"):
        edge_cases([seen(0, right=False)], 10)


def test_a_proposal_is_a_branch_and_nothing_else(promoted: Path) -> None:
    """The working tree and the branch that is checked out stay; what is known already is not proposed again."""
    git, before = Git(promoted), Git(promoted).head()
    found = edge_cases([seen(0, right=False, inputs={"x": [0]}), seen(1, right=False, inputs={"x": [1]})], 10)
    made = propose(git, found[:1], "data/edge.jsonl", "cases")
    assert (made.examples, git.head(), git.dirty()) == (1, before, [])
    assert git.commit_of("cases^") == before
    (line,) = (git.blob(made.commit, "data/edge.jsonl") or b"").splitlines()
    assert json.loads(line)["label"] == "0"
    with pytest.raises(StateError, match="exists already"):
        propose(git, found, "data/edge.jsonl", "cases")
    git.run("merge", "--quiet", "--ff-only", "cases")
    again = propose(git, found, "data/edge.jsonl", "more")
    assert again.examples == 1
    with pytest.raises(StateError, match="does not have already"):
        propose(git, found[:1], "data/edge.jsonl", "none")


@pytest.mark.parametrize("path", ["../out.jsonl", "/etc/x.jsonl", "data/x.csv"])
def test_a_proposal_stays_in_the_repository(promoted: Path, path: str) -> None:
    """And in a file of lines."""
    found = edge_cases([seen(0, right=False, inputs={"x": [0]})], 10)
    with pytest.raises(InputError, match=r"not a \.jsonl path"):
        propose(Git(promoted), found, path, "cases")


def proposed(promoted: Path, tmp_path: Path, *more: str, **told: str) -> subprocess.CompletedProcess[str]:
    """What the command does with a log of the server."""
    log = tmp_path / "requests.jsonl"
    lines = [
        {"time": BEGIN.isoformat(), "version": version, "id": str(number), "prediction": "1", "label": "0",
         "inputs": {"x": [number]}}
        for number, version in enumerate(("v1", "v2", "v2"))
    ]  # fmt: skip
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    program = Path(sys.executable).parent / "weighbridge"
    command = [program, "data", "propose", MODEL, "--log", str(log), *more]
    names = ("GITHUB_REPOSITORY", "GITHUB_TOKEN", "GITHUB_API_URL")
    environment = {key: value for key, value in os.environ.items() if key not in names} | told
    return subprocess.run(command, cwd=promoted, capture_output=True, text=True, check=False, env=environment)


def test_the_command_reads_the_servers_log(promoted: Path, tmp_path: Path) -> None:
    """Of the version that is stable."""
    done = proposed(promoted, tmp_path)
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "edge-cases"), done.stderr
    kept = Git(promoted).blob("edge-cases", "data/edge-cases.jsonl") or b""
    assert [json.loads(line)["inputs"]["x"] for line in kept.splitlines()] == [[1], [2]]


def test_the_command_opens_a_pull_request(promoted: Path, tmp_path: Path, github_api: Api) -> None:
    """Of the branch that it pushed, with what the examples are; GitHub's answer is checked by its description."""
    run_git(promoted, "init", "-q", "--bare", str(tmp_path / "remote.git"))
    run_git(promoted, "remote", "add", "there", str(tmp_path / "remote.git"))
    told = {"GITHUB_REPOSITORY": "o/r", "GITHUB_TOKEN": github_api.token, "GITHUB_API_URL": github_api.url}
    done = proposed(promoted, tmp_path, "--push", "there", "--pull-request", "main", **told)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "https://github.com/octocat/Hello-World/pull/1"
    (pull,) = github_api.pulls
    assert (pull["head"]["ref"], pull["base"]["ref"], github_api.refused) == ("edge-cases", "main", [])
    assert pull["title"] == "data: add 2 edge cases from production"
    assert run_git(tmp_path / "remote.git", "rev-parse", "edge-cases") == Git(promoted).commit_of("edge-cases")


@pytest.mark.parametrize(
    ("more", "told", "said"),
    [
        ((), {}, "--push GIT_REMOTE"),
        (("--push", "there"), {}, "GITHUB_REPOSITORY"),
        (("--push", "there"), {"GITHUB_REPOSITORY": "o/r"}, "GITHUB_TOKEN"),
    ],
)
def test_a_pull_request_that_cannot_be_is_refused_before_a_branch_is_made(
    promoted: Path, tmp_path: Path, more: tuple[str, ...], told: dict[str, str], said: str
) -> None:
    done = proposed(promoted, tmp_path, "--pull-request", "main", *more, **told)
    assert (done.returncode, len(done.stderr.splitlines()), said in done.stderr) == (2, 1, True), done.stderr
    assert Git(promoted).commit_of("refs/heads/edge-cases") is None
