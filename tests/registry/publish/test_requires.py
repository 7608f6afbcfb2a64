"""Artifacts that require something of a processor: said in the record, refused elsewhere, always with a way."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.registry import project as made
from weighbridge.cli import main
from weighbridge.core.documents import Manifest
from weighbridge.core.errors import StateError
from weighbridge.core.facts import isa
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.lookup.resolved import require_host

SERVE = ("manifests", made.MODEL, "--for", "kserve", "--storage-uri", "s3://m/{version}")
TAKE = {"resolve": ("resolve", f"{made.MODEL}@stable"), "pull": ("pull", made.MODEL, "--out", "out"), "serve": SERVE}


@pytest.fixture
def native(pipeline_run: Path) -> Path:
    """A registry whose stable version was built for VNNI."""
    path = pipeline_run / "artifacts/recipes/int8/onnxruntime/manifest.json"
    Manifest.read(path).model_copy(update={"requires": ["vnni"]}).write(path)
    made.lock(pipeline_run, ("int8", "fp16"))
    made.commit_all(pipeline_run)
    promote(pipeline_run, PromotionRequest("int8"))
    return pipeline_run


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], native: Path) -> Callable[..., Any]:
    """Run `weighbridge registry …` on a host with AVX2 alone; what it printed, or its error."""
    monkeypatch.setattr(isa.platform, "machine", lambda: "x86_64")  # type: ignore[attr-defined]
    monkeypatch.setattr(isa, "flags", lambda: frozenset({"avx2"}))
    monkeypatch.chdir(native)

    def call(*arguments: str, code: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["weighbridge", "registry", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        assert (ended.value.code or 0) == code, output.err
        return output.out if code == 0 else output.err

    return call


@pytest.mark.parametrize("command", TAKE.values(), ids=TAKE)
def test_a_host_without_it_is_refused(run: Callable[..., Any], native: Path, command: tuple[str, ...]) -> None:
    """One line that says what is lacking and what to do; nothing is written."""
    said = run(*command, code=2)
    assert said.startswith(f"weighbridge: error: {made.MODEL}@v1: requires vnni, which this host lacks")
    assert "--any-host" in said
    assert said.count("\n") == 1
    assert not (native / "out").exists()


@pytest.mark.parametrize("command", TAKE.values(), ids=TAKE)
@pytest.mark.parametrize("host", [("--isa", "avx512_vnni"), ("--isa", "arm64"), ("--any-host",)])
def test_a_host_that_is_named_decides(run: Callable[..., Any], command: tuple[str, ...], host: tuple[str, ...]) -> None:
    """Who resolves for another machine says which; who knows better says so."""
    assert run(*command, *host)


def test_a_host_that_is_named_may_lack_it_too(run: Callable[..., Any]) -> None:
    """The name is in the error, and naming one and any at once is refused."""
    said = run(*TAKE["resolve"], "--isa", "avx2,fma", code=2)
    assert "requires vnni, which a host with avx2, fma lacks" in said
    assert "leave one of them out" in run(*TAKE["resolve"], "--isa", "avx2", "--any-host", code=2)


def test_a_host_that_has_it_needs_no_word(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command where the processor fits."""
    monkeypatch.setattr(isa, "flags", lambda: frozenset({"avx2", "avx512_vnni"}))
    for command in TAKE.values():
        assert run(*command)


def test_record_resolver_and_manifests_name_it(run: Callable[..., Any]) -> None:
    """Whoever reads any of them sees it."""
    assert json.loads(run(*TAKE["resolve"], "--any-host", "--json"))["requires"] == ["vnni"]
    assert json.loads(run("show", f"{made.MODEL}@v1", "--json"))["artifacts"][0]["requires"] == ["vnni"]
    document = next(yaml.safe_load_all(run(*SERVE, "--any-host")))
    assert document["metadata"]["annotations"]["weighbridge/requires"] == "vnni"


def test_a_portable_version_is_taken_anywhere(run: Callable[..., Any]) -> None:
    """The baseline of the same registry, on the same host."""
    assert run("resolve", f"{made.MODEL}@baseline")


def test_a_requirement_of_a_newer_program_is_refused() -> None:
    """What is not known cannot be met."""
    with pytest.raises(StateError, match="requires sme2"):
        require_host(["sme2"], isa.this_host(), "m@v1")
