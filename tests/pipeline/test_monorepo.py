"""Two models in one repository, by two `init`: gate, promotion and canary of both under the real workflow files."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipeline.act_bench import Bench, make_two, prepared_python

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    home = tmp_path_factory.mktemp("two")
    prepared_python(home / "python")
    return make_two(home / "project")


def channels(bench: Bench, model: str) -> Any:
    return yaml.safe_load((bench.work / f"registry/models/{model}/channels.yaml").read_text())


def pull(bench: Bench) -> None:
    bench.run("git", "pull", "--quiet", "--ff-only", "origin", "main")


def test_both_models_are_gated_promoted_and_judged_on_canary(bench: Bench, tmp_path: Path) -> None:
    """From nothing both are stable; a change of one weighs it alone and starts its canary, which ends in stable."""
    first = bench.act("push", "promote", bench.pushed())
    assert first.code == 0, first.log
    assert any(stage.endswith("models/a/dvc.yaml:train") or stage == "train" for stage in first.stages), first.stages
    pull(bench)
    assert {channels(bench, f"clouds-{name}")["stable"]["version"] for name in "ab"} == {"v1"}
    bench.branch("feature-a")
    bench.edit("models/a/params.yaml", "scheme: fp16", "scheme: static-int8")
    bench.commit("a: quantize to eight bits (#12)")
    gated = bench.pull_request()
    assert gated.code == 0, gated.log
    assert "clouds-a is gated" in gated.log
    assert "clouds-b is gated" not in gated.log
    bench.run("git", "switch", "--quiet", "main")
    bench.run("git", "merge", "--quiet", "--ff-only", "feature-a")
    bench.run("git", "push", "--quiet", "origin", "main")
    merged = bench.act("push", "promote", bench.pushed())
    assert merged.code == 0, merged.log
    pull(bench)
    assert (channels(bench, "clouds-a")["canary"]["version"], channels(bench, "clouds-b").get("canary")) == ("v2", None)
    assert "12" in bench.run("weighbridge", "registry", "history", "clouds-a", "--root", "models/a")
    log = tmp_path / "online.jsonl"
    for _ in range(2):
        began = datetime.fromisoformat(channels(bench, "clouds-a")["canary"]["step_since"])
        lines = [
            {
                "time": (began + timedelta(seconds=0.01 * n)).isoformat(),
                "model": model,
                "version": version,
                "error": bad,
            }
            for n in range(400)
            for model, version, bad in (("clouds-a", "v2", False), ("clouds-a", "v1", False), ("clouds-b", "v2", True))
        ]
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        while datetime.now(UTC) < began + timedelta(seconds=5):
            pass
        judged = bench.act("schedule", "canary", {}, variables={"WEIGHBRIDGE_METRICS": str(log)})
        assert judged.code == 0, judged.log
        assert "advance: v2" in judged.log
        pull(bench)
    assert channels(bench, "clouds-a")["stable"]["version"] == "v2"
    fresh = bench.clone("fresh")
    fresh.run("dvc", "pull", "--quiet")
    fresh.run("weighbridge", "registry", "verify", "--deep")
    assert (fresh.work / "models/b/artifacts/recipes/small").is_dir()
