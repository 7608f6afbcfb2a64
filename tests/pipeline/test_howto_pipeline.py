"""The how-to pages about a project without training, run as they are printed: an ONNX file, waivers, a remote."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.howto import blocks, commands
from tests.pipeline.act_bench import Bench, identify
from tests.pipeline.test_init_road import foreign_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def empty(home: Path) -> Bench:
    """A repository with the ONNX file and the examples that the page begins with."""
    home.mkdir()
    bench = Bench(home)
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", bench.work], check=True)
    identify(bench)
    foreign_model(bench.work)
    bench.commit("What we have")
    return bench


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """After the page's first three commands, on one recipe and on what is exact; what each of them printed."""
    bench = empty(tmp_path_factory.mktemp("howto") / "home")
    init, repro, gate = commands("onnx-only")[:3]
    bench.run(*init)
    limit(bench, "size.bytes", max_ratio=1.0)
    bench.said = [bench.run(*repro), bench.run(*gate)]  # type: ignore[attr-defined]
    bench.commit("A gate")
    return bench


def limit(bench: Bench, metric: str, **budget: float | str) -> None:
    """Set the one budget of the project."""
    path = bench.work / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["recipes"] = {"fp16": params["recipes"]["fp16"]}
    params["budgets"] = [{"metric": metric, **budget}]
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def test_the_page_on_an_onnx_file(detector: Any, tmp_path: Path) -> None:
    """The pipeline, a data function as the page writes it, and two files without a pipeline."""
    assert "gate: pass" in detector.said[1]
    left = commands("onnx-only")[3:]
    own = empty(tmp_path / "own")
    [function] = [block.text for block in blocks("onnx-only") if block.kind == "python"]
    own.write("evaluation.py", function)
    own.run(*left[0])
    assert yaml.safe_load((own.work / "params.yaml").read_text())["data"]["factory"] == "evaluation:load"
    shutil.copyfile(own.work / "detector.onnx", own.work / "baseline.onnx")
    shutil.copyfile(next(detector.work.glob("artifacts/recipes/fp16/**/model.onnx")), own.work / "candidate.onnx")
    own.write("budgets.yaml", "budgets:\n  - {metric: size.bytes, max_ratio: 1.0}\n")
    assert "pass" in own.run(*left[1])
    assert {"measurement.json", "verdict.json", "gate.md"} <= {path.name for path in (own.work / "weighed").iterdir()}
    assert len(left) == 2


def test_the_page_on_waivers(detector: Any) -> None:
    """A budget that fails passes by the page's waiver, and by none that names other bytes."""
    waiver = next(block.text for block in blocks("waivers") if block.title == "waivers/larger-head.yaml")
    limit(detector, "size.bytes", max="1kB")
    detector.run("dvc", "repro")
    assert "gate: fail" in detector.run("weighbridge", "gate", expect=1)
    verdict = json.loads((detector.work / "reports/verdict.json").read_text())
    digest = verdict["recipes"]["fp16"]["candidate"]["digest"]
    text = waiver.replace("int8-static", "fp16").replace("2027-01-31", soon())
    other = re.sub(r"sha256:5f1c\S*", "sha256:" + 64 * "5", text)
    detector.write("waivers/larger-head.yaml", other)
    detector.run("dvc", "repro")
    assert "matches nothing" in detector.run("weighbridge", "gate", expect=1)
    detector.write("waivers/larger-head.yaml", re.sub(r"sha256:5f1c\S*", digest, text))
    detector.run("dvc", "repro")
    assert "gate: pass" in detector.run("weighbridge", "gate")
    detector.run("git", "checkout", "--quiet", ".")
    (detector.work / "waivers/larger-head.yaml").unlink()


def soon() -> str:
    """A day within the 90 that a waiver may run."""
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) + timedelta(days=60)).strftime("%Y-%m-%d")


def test_the_page_on_remotes(detector: Any) -> None:
    """A remote, here a folder, gets what the pipeline made."""
    add, push = commands("remotes")
    detector.run(*(word.replace("s3://bucket/weighbridge", str(detector.home / "store")) for word in add))
    detector.run(*push)
    assert list((detector.home / "store/files/md5").glob("*/*"))
    rows = detector.run(*shlex.split("weighbridge registry gc --cloud --json"))
    assert all(row["keep"] for row in json.loads(rows))
