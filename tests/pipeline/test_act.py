"""The real workflow files, run by `act` on this machine, on a small project made by `weighbridge init`."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.pipeline.act_bench import Bench, Finished, built_wheel, identify, make, prepared_python
from tests.pipeline.conftest import PROJECT
from weighbridge.ci.locking import PROMOTE_LOCKED, promote_constraints
from weighbridge.ci.scaffold import Pipeline, workflows
from weighbridge.core.files import sha256_file

if TYPE_CHECKING:
    from tests.github_api import Api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

BREAKS_ACCURACY = "quantize: {scheme: fp16}"
BROKEN = "prune: {method: magnitude, sparsity: 0.98, scope: layer}\n      - quantize: {scheme: fp16}"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything lies, with the environment that workflows install into."""
    folder = tmp_path_factory.mktemp("act")
    prepared_python(folder / "python")
    return folder


@pytest.fixture
def reporter(home: Path, tmp_path: Path) -> Bench:
    """A repository with the workflows alone: reporting needs no model."""
    bench = Bench(home / tmp_path.name)
    bench.store.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", bench.work], check=True)
    identify(bench)
    wheel = built_wheel(home / "reporter-wheels")
    setup = Pipeline.installing(wheel, "main", "ubuntu-latest", "github-ubuntu-latest", "smallest")
    for name, text in workflows(setup).items():
        bench.write(name, text)
    bench.write(PROMOTE_LOCKED, promote_constraints())
    bench.commit("Workflows")
    return bench


@pytest.fixture(scope="session")
def prepared(home: Path) -> Bench:
    """The project once: an empty repository, `init`, `dvc repro`, pushed."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()  # fmt: skip
    made = make(home / "project", public, private)
    shutil.copytree(made.home, home / "template", symlinks=True)
    return made


@pytest.fixture
def bench(prepared: Bench) -> Bench:
    """The project as it was made, at the same place: the DVC remote's address is part of it."""
    shutil.rmtree(prepared.home)
    shutil.copytree(prepared.home.parent / "template", prepared.home, symlinks=True)
    return Bench(prepared.home, prepared.secrets)


def line_of(bench: Bench, text: str) -> int:
    """The line of params.yaml (from 1) that starts with a text."""
    lines = (bench.work / "params.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(text))


def test_a_better_recipe_passes_and_only_it_is_built(bench: Bench) -> None:
    """(a) Restored from the remote is what did not change; the summary shows the verdict and the change."""
    bench.branch()
    bench.edit("params.yaml", "scheme: fp16", "scheme: static-int8")
    bench.commit("Quantize to eight bits")
    done = bench.pull_request()
    assert done.code == 0, done.log
    assert done.stages == ["device", "compress@small", "weigh@small", "judge"]
    assert "Pass" in done.summary.splitlines()[0]
    assert "static-int8" in done.summary
    assert "verdict=pass" in done.log
    assert "::error" not in done.log
    uploads = bench.store / "uploads"
    assert (uploads / "weighbridge-report/gate.html").is_file()
    assert not (uploads / "weighbridge-evidence").exists()


def test_what_was_reproduced_and_pushed_before_is_weighed_but_not_built_again(bench: Bench) -> None:
    """The author ran `dvc repro && dvc push`: the gate measures the same bytes on its own machine."""
    bench.branch()
    bench.edit("params.yaml", "scheme: fp16", "scheme: static-int8")
    bench.run("dvc", "repro")
    bench.commit("Quantize to eight bits")
    bench.run("dvc", "push", "--quiet")
    done = bench.pull_request()
    assert done.code == 0, done.log
    assert done.stages == ["device", "weigh@small", "judge"]


def test_a_recipe_that_breaks_accuracy_fails_on_its_line(bench: Bench) -> None:
    """(b) The job fails, the exit code is the verdict's, and the annotation stands on the recipe."""
    bench.branch()
    bench.edit("params.yaml", BREAKS_ACCURACY, BROKEN)
    bench.commit("Prune nearly everything")
    done = bench.pull_request()
    assert done.code == 1
    assert "exit status 1" in done.log
    assert f"::error file=params.yaml,line={line_of(bench, 'small:')},title=small%3A accuracy.top1 fail::" in done.log
    assert "Fail" in done.summary.splitlines()[0]
    assert (bench.store / "uploads/weighbridge-report/gate.md").is_file()


def test_a_loosened_budget_fails_until_somebody_answers_for_it(bench: Bench) -> None:
    """(c) The artifact passes either budget; the policy change alone fails the gate, and a waiver accepts it."""
    bench.branch()
    bench.edit("params.yaml", "max_drop: 0.05", "max_drop: 0.20")
    bench.commit("Allow more")
    done = bench.pull_request()
    assert done.code == 1
    assert (
        f"::error file=params.yaml,line={line_of(bench, '- {metric: accuracy.top1')},title=policy change::" in done.log
    )
    expires = (datetime.now(UTC) + timedelta(days=30)).date()
    waiver = {"budget": "accuracy.top1", "policy": True, "to": 0.2, "who": "A. Reviewer", "why": "new data",
              "expires": expires}  # fmt: skip
    bench.write("waivers/more-drop.yaml", yaml.safe_dump(waiver))
    bench.commit("Accept it for a month")
    done = bench.pull_request()
    assert done.code == 0, done.log
    assert "A. Reviewer" in done.summary


def test_a_change_to_the_documentation_builds_and_measures_nothing(bench: Bench) -> None:
    """(d) No stage runs; the report says why there is nothing to weigh."""
    bench.branch()
    bench.write("README.md", "# Clouds, described better\n")
    bench.commit("Describe")
    done = bench.pull_request()
    assert done.code == 0, done.log
    assert done.stages == []
    assert "dvc" not in done.log.partition("Main Gate")[2].partition("Success")[0]
    assert "nothing to weigh" in done.summary


def test_an_invalid_parameter_is_one_line_on_its_line(bench: Bench) -> None:
    """Nothing is built for a recipe that cannot be read; exit code 2."""
    bench.branch()
    bench.edit("params.yaml", "time_limit: 30s", "time_limits: 30s")
    bench.commit("Misspell")
    done = bench.pull_request()
    assert done.code == 1
    assert "exit status 2" in done.log
    assert f"::error file=params.yaml,line={line_of(bench, 'weighing:')}," in done.log
    assert done.stages == []


def test_a_merge_is_promoted_signed_and_pushed_and_a_second_run_changes_nothing(bench: Bench) -> None:
    """(e) The registry's commit is in the bare remote, its event signed, and it can be rolled back."""
    done = bench.act("push", "promote", bench.pushed())
    assert done.code == 0, done.log
    fresh = bench.clone("fresh")
    assert re.search(r"clouds@v1 sha256:", fresh.run("weighbridge", "registry", "resolve", "clouds@stable"))
    fresh.run("weighbridge", "registry", "verify")
    signed = json.loads((fresh.work / "registry/models/clouds/signatures/v1.json").read_text())
    assert signed["signatures"]
    record = yaml.safe_load((fresh.work / "registry/models/clouds/versions/v1.yaml").read_text())
    built = bench.work / "artifacts/recipes/small/onnxruntime/model.onnx"
    assert record["artifacts"][0]["digest"] == sha256_file(built)
    fresh.run("dvc", "pull", "--quiet")
    assert sha256_file(fresh.work / "artifacts/recipes/small/onnxruntime/model.onnx") == sha256_file(built)
    tip = fresh.run("git", "rev-parse", "HEAD")
    bench.run("git", "pull", "--quiet")
    again = bench.act("push", "promote", bench.pushed())
    assert again.code == 0, again.log
    assert "nothing" in again.log
    assert bench.clone("later").run("git", "rev-parse", "HEAD") == tip
    fresh.run("weighbridge", "registry", "rollback", "clouds", "--to", "baseline", "--reason", "drill")
    assert "clouds@b1" in bench.clone("last").run("weighbridge", "registry", "resolve", "clouds@stable")


def test_of_two_merges_at_once_the_newer_one_is_promoted_and_the_history_is_whole(bench: Bench) -> None:
    """(f) Both runs end well; the one for the older commit finds the branch moved on and leaves it to the newer."""
    older = bench.clone("older")
    bench.edit("params.yaml", "scheme: fp16", "scheme: static-int8")
    bench.run("dvc", "repro")
    bench.commit("Quantize to eight bits")
    bench.run("dvc", "push", "--quiet")
    bench.run("git", "push", "--quiet")
    runs = [one.start_act("push", "promote", one.pushed()) for one in (older, bench)]
    first, second = older.finish(runs[0]), bench.finish(runs[1])
    assert first.code == 0, first.log
    assert second.code == 0, second.log
    assert re.search(r"::warning .*clouds: deferred.*moved on", first.log.replace("%3A", ":"))
    assert "asked GitHub: workflow run promote.yml --ref main" in first.log
    assert "asked GitHub" not in second.log
    fresh = bench.clone("fresh")
    fresh.run("weighbridge", "registry", "verify")
    record = yaml.safe_load((fresh.work / "registry/models/clouds/versions/v1.yaml").read_text())
    built = bench.work / "artifacts/recipes/small/onnxruntime/model.onnx"
    assert record["artifacts"][0]["digest"] == sha256_file(built)
    assert not (fresh.work / "registry/models/clouds/versions/v2.yaml").exists()


def test_a_fork_is_gated_without_secrets_or_the_remote(bench: Bench) -> None:
    """(g) What cannot be fetched is built; the verdict is the same."""
    bench.branch()
    bench.edit("params.yaml", "scheme: fp16", "scheme: static-int8")
    bench.commit("Quantize to eight bits")
    shutil.move(bench.home / "remote", bench.home / "out-of-reach")
    shutil.rmtree(bench.work / ".dvc/cache")
    bench.secrets = {}
    done = bench.pull_request(repo={"fork": True, "full_name": "stranger/clouds"})
    assert done.code == 0, done.log
    assert {"prepare", "train", "baseline@onnxruntime", "compress@small", "weigh@small"} <= set(done.stages)


def finished(commit: str, **changed: str) -> dict[str, Any]:
    """The event of a finished gate."""
    run = {
        "id": 77, "head_sha": commit, "head_branch": "feature", "conclusion": "failure", "run_number": 7,
        "run_attempt": 1, "event": "pull_request", "html_url": "https://github.com/octocat/clouds/actions/runs/77",
        "head_repository": {"full_name": "stranger/clouds", "owner": {"login": "stranger"}},
    }  # fmt: skip
    return {"action": "completed", "workflow_run": run | changed, "repository": {"default_branch": "main"}}


def report(bench: Bench, api: "Api", event: dict[str, Any]) -> Finished:
    """Run report.yml against a GitHub on loopback."""
    return bench.act("workflow_run", "report", event, GITHUB_API_URL=api.url, TOKEN=api.token)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe\x89PNG" * 5000,
        b"# pass\n<script>alert(1)</script> @octocat fixes #1 ![x](https://evil.example/p.png)\n::error::boo\n",
        b"<!-- weighbridge-gate run=999 attempt=1 commit=" + b"a" * 40 + b" -->\n" + b"`" * 70_000,
    ],
    ids=["bytes", "markup", "marker"],
)
def test_a_garbage_report_becomes_a_harmless_comment(reporter: Bench, github_api: "Api", garbage: bytes) -> None:
    """(h) What was uploaded is shown as far as it is text, does nothing, and changes nothing that GitHub knows."""
    commit = "b" * 40
    github_api.add_pull(12, "feature", commit, owner="stranger")
    uploads = reporter.store / "uploads/weighbridge-report"
    uploads.mkdir(parents=True)
    (uploads / "gate.md").write_bytes(garbage)
    done = report(reporter, github_api, finished(commit))
    assert done.code == 0, done.log
    body = github_api.comments[0]["body"]
    assert "The gate did not pass" in body
    assert len(body) <= 60_000
    assert body.count("<!--") == 1
    for active in ("<script", "@octocat", "#1 ", "https://evil", "\x00"):
        assert active not in body
    assert "::error::boo" not in done.log


def test_a_run_that_uploaded_nothing_is_reported_as_such(reporter: Bench, github_api: "Api") -> None:
    """The download fails, the comment says that there is no report, and the workflow does not."""
    commit = "b" * 40
    github_api.add_pull(12, "feature", commit, owner="stranger")
    done = report(reporter, github_api, finished(commit, conclusion="cancelled"))
    assert done.code == 0, done.log
    assert "uploaded no report" in github_api.comments[0]["body"]


def test_recipes_are_made_and_devices_weigh_in_jobs_of_their_own(bench: Bench) -> None:
    """(i) Two recipes, two devices, each a job; what they give is joined, and the verdict's code is the run's."""
    shutil.copy(PROJECT / "tests/gate/harness.py", bench.work)
    bench.edit("params.yaml", "{local: {}}", "{local: {}, board: {command: [python, harness.py]}}")
    wide = "  wide: {target: onnxruntime, steps: [{quantize: {scheme: weight-int8}}]}\n"
    bench.edit("params.yaml", "devices:", wide + "devices:")
    bench.commit("A board, and another recipe")
    done = bench.act("workflow_dispatch", "matrix", {}, variables={"WEIGHBRIDGE_RUNNERS": '{"board": "ubuntu-latest"}'})
    assert done.code == 0, done.log
    assert done.stages == ["device"]  # the others came from the remote
    uploads = bench.store / "uploads"
    items = {path.name.removeprefix("weighbridge-item-"): len(list(path.iterdir())) for path in uploads.glob("*item*")}
    assert items == {"make-small": 1, "make-wide": 1, "weigh-local": 2, "weigh-board": 2}
    verdict = json.loads((uploads / "weighbridge-matrix-report/verdict.json").read_text())
    assert verdict["verdict"] == "pass"
    assert set(verdict["recipes"]) == {"small", "small@board", "wide", "wide@board"}


def test_the_action_weighs_two_files_in_anybodys_workflow(bench: Bench) -> None:
    """`uses: weighbridge` with two ONNX files: the verdict is the step's output, its exit code the job's."""
    shutil.copy(PROJECT / "action.yml", bench.work)
    for name in ("weighbridge", "compress", "gate", "registry", "search", "serve"):
        shutil.copytree(PROJECT / name, bench.work / name, ignore=shutil.ignore_patterns("__pycache__", "models"),
                        dirs_exist_ok=True)  # fmt: skip
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(PROJECT / name, bench.work)
    for source, name in (("baseline/onnxruntime", "baseline"), ("recipes/small/onnxruntime", "candidate")):
        shutil.copy(bench.work / "artifacts" / source / "model.onnx", bench.work / f"{name}.onnx")
    shutil.copy(bench.work / "artifacts/data/test.npz", bench.work / "eval.npz")
    bench.write("budgets.yaml", "budgets:\n  - {metric: size.bytes, max_ratio: 0.6}\n")
    workflow = {
        "on": "push",
        "jobs": {
            "weigh": {
                "runs-on": "ubuntu-latest",
                "steps": [
                    {"uses": "actions/checkout@v7"},
                    {
                        "uses": "./", "id": "weigh",
                        "with": {"baseline": "baseline.onnx", "candidate": "candidate.onnx", "data": "eval.npz",
                                 "budgets": "budgets.yaml"},
                    },
                    {"run": 'cat "${{ steps.weigh.outputs.report }}"'},
                    {"run": 'echo "verdict is ${{ steps.weigh.outputs.verdict }}"'},
                ],
            }
        },
    }  # fmt: skip
    bench.write(".github/workflows/weigh.yml", json.dumps(workflow))
    bench.commit("Weigh two files")
    done = bench.act("push", "weigh", bench.pushed())
    assert done.code == 0, done.log
    assert "verdict is pass" in done.log
    # The action installed what stood beside it, the templates of `init` included.
    assert list((bench.home.parent / "python").glob("lib/*/site-packages/weighbridge/ci/templates/gate.yml"))
    bench.write("budgets.yaml", "budgets:\n  - {metric: size.bytes, max_ratio: 0.1}\n")
    bench.commit("Ask for the impossible")
    done = bench.act("push", "weigh", bench.pushed())
    assert done.code == 1
    assert "title=size.bytes fail::" in done.log
