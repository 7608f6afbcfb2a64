"""The commands: what they print, in text and JSON, and the codes that they end with."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tests.registry.canary.test_canary_judge import write_log
from tests.registry.project import MODEL, commit_all, write_run
from weighbridge.cli.registry import app
from weighbridge.core.errors import WeighbridgeError
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote


@pytest.fixture
def run(promoted: Path) -> Any:
    """Run a command on a project with two versions."""

    def call(*arguments: str, root: Path = promoted, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*arguments, "--root", str(root)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    call.root = promoted  # type: ignore[attr-defined]
    return call


def test_resolve_prints_one_line(run: Any) -> None:
    """`MODEL@VERSION DIGEST`, for shells; all facts as JSON."""
    facts = json.loads(run("resolve", MODEL, "--json"))
    assert run("resolve", f"{MODEL}@stable") == f"{MODEL}@v2 {facts['digest']}\n"
    assert facts["bytes"] == 84


def test_tables_and_json_say_the_same(run: Any) -> None:
    """Every listing has both forms."""
    for command in (["list"], ["versions", MODEL], ["history", MODEL], ["verify"], ["diff", MODEL, "v1", "v2"]):
        rows = json.loads(run(*command, "--json"))
        text = run(*command)
        assert len(text.splitlines()) == len(rows) + 2
        assert all(str(key) in text for key in rows[0])
    assert json.loads(run("show", MODEL, "--json")) == yaml.safe_load(run("show", f"{MODEL}@v2"))
    assert json.loads(run("gc", "--json"))


def test_an_empty_registry_says_so(run: Any, project: Path) -> None:
    """No table without rows."""
    assert run("list", root=project) == "the registry has no models yet\n"
    assert json.loads(run("list", "--json", root=project)) == []


def test_promote_says_what_it_did(run: Any) -> None:
    """The version, the event, the commit, and what is stable now."""
    write_run(run.root, 3)
    commit_all(run.root)
    text = run("promote", "--select", "smallest", "--no-push")
    assert text.startswith(f"{MODEL}: promoted v3 (event 3, commit ")
    assert "stable: v3; not pushed" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote"], "expected a recipe or --select"),
        (["promote", "int8", "--select", "fastest"], "expected a recipe or --select"),
        (["diff", MODEL, "v1", "v9"], "no version v9"),
        (["promote", "int8", "--remote", "upstream"], "git remote 'upstream' not found"),
    ],
)
def test_wrong_use_is_one_clear_error(run: Any, arguments: list[str], message: str) -> None:
    """Each is a usage error with code 2, raised to the rim."""
    with pytest.raises(WeighbridgeError, match=message) as caught:
        run(*arguments)
    assert caught.value.exit_code == 2


def test_the_life_of_a_version(run: Any, tmp_path: Path) -> None:
    """Recorded, canary, judged, aborted, rolled back, deprecated, released: every command, one event each."""
    policy = {"canary": {"min_samples": 10, "budgets": [{"metric": "error_rate", "max": 0.5}]}}
    run("promote", "fp16", "--channel", "none", "--no-push")
    (run.root / "registry.policy.yaml").write_text(yaml.safe_dump(policy))  # before, it would need a waiver
    commit_all(run.root)
    run("canary", "start", MODEL, "v3", "--steps", "10,100", "--min-time", "60min", "--no-push")
    assert yaml.safe_load(run("canary", "status", MODEL))["weight"] == 10
    assert json.loads(run("canary", "status", MODEL, "--json"))["plan"]["min_seconds"] == 3600
    log = str(write_log(tmp_path / "online.jsonl", 5))
    assert run("canary", "judge", MODEL, "--metrics", log, "--no-push", code=3).startswith("hold: v3 at 10%")
    decision = json.loads(run("canary", "judge", MODEL, "--metrics", log, "--dry-run", "--json", code=3))
    assert (decision["action"], decision["event"]) == ("hold", None)
    run("canary", "advance", MODEL, "--reason", "well", "--no-push")
    run("canary", "abort", MODEL, "--reason", "drill", "--no-quarantine", "--no-push")
    run("quarantine", MODEL, "v3", "--reason", "bad", "--no-push")
    run("quarantine", MODEL, "v3", "--reason", "good", "--lift", "--no-push")
    run("release", MODEL, "v3", "--no-push")
    assert "to v2, and quarantined" in run("rollback", MODEL, "--reason", "wrong", "--no-push")
    run("deprecate", MODEL, "v1", "--reason", "old", "--no-push")
    committed = json.loads(run("rollback", MODEL, "--to", "baseline", "--reason", "drill", "--no-push", "--json"))
    assert (committed["channels"]["stable"]["version"], committed["pushed"]) == ("b1", False)
    kinds = [row["kind"] for row in json.loads(run("history", MODEL, "--json"))]
    assert (len(kinds), kinds[0], kinds[-1]) == (13, "rolled-back", "promoted")
    assert run("resolve", f"{MODEL}@v1").startswith(f"{MODEL}@v1")
    run("verify")


def test_schemas_are_written(run: Any, tmp_path: Path) -> None:
    """One file per document."""
    result = CliRunner().invoke(app, ["schemas", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == len(list((tmp_path / "out").iterdir())) >= 11


def test_a_race_is_visible(run: Any) -> None:
    """`--expect` is how a script says what it believes."""
    promote(run.root, PromotionRequest("fp16"))
    with pytest.raises(WeighbridgeError, match="stable is v3, expected v2"):
        run("release", MODEL, "v1", "--expect", "v2")


@pytest.mark.parametrize("arguments", [("list",), ("resolve", "m@stable"), ("verify",), ("history", "m"), ("gc",)])
def test_a_folder_without_a_registry_is_an_error_that_names_the_place(
    run: Any, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Exit code 2; never "no models yet"."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeighbridgeError, match="neither a registry nor") as error:
        run(*arguments, root=tmp_path / "empty")
    assert str(tmp_path / "empty") in str(error.value)
    assert error.value.exit_code == 2


def test_commands_find_the_registry_from_any_folder(run: Any) -> None:
    """As git finds its own."""
    (run.root / "src/deep").mkdir(parents=True)
    assert run("list", root=run.root / "src/deep") == run("list")
    assert run("resolve", f"{MODEL}@stable", root=run.root / "src/deep") == run("resolve", f"{MODEL}@stable")
