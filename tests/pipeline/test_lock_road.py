"""A lock file away from where it was written: on another processor, under an experiment, in a cache of links."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from weighbridge.core.documents import Manifest, Measurement
from weighbridge.core.files import sha256_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Every Python process of the pipeline takes this machine for one without AVX-512.
ANOTHER = """\
from weighbridge.core.facts import isa
from weighbridge.gate.measure import machine
isa.flags = lambda *_: frozenset({"sse4_2", "avx", "avx2", "fma"})
machine.RECORDED = isa.flags()
"""


@pytest.fixture(scope="module")
def repository() -> Iterator[Any]:
    """The helper that makes a small gated repository by the real commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from levers_cases import repository

        yield repository


@pytest.fixture(scope="module")
def built(repository: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, weighed and pushed; not to be changed."""
    root = tmp_path_factory.mktemp("lock") / "net"
    (root.parent / "remote").mkdir()
    repository.make(root)
    repository.run(root, "dvc", "push", "--quiet")
    return root


def files(root: Path) -> dict[str, Any]:
    """Every artifact by its digest."""
    return {str(path.relative_to(root)): sha256_file(path) for path in root.glob("artifacts/**/*.onnx")}


def test_a_lock_that_was_made_on_another_processor_is_pulled_and_not_rebuilt(
    repository: Any, built: Path, tmp_path: Path
) -> None:
    """A fresh clone takes the bytes that the lock names, and measures anew: only what was measured is the machine's."""
    clone = tmp_path / "net"
    subprocess.run(["git", "clone", "--quiet", built, clone], check=True)
    (tmp_path / "path").mkdir()
    (tmp_path / "path/sitecustomize.py").write_text(ANOTHER)
    variables = {**repository.environment(), "PYTHONPATH": str(tmp_path / "path")}
    command = ["dvc", "repro", "--pull", "--keep-going"]
    done = subprocess.run(command, cwd=clone, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"^Running stage '(.+)'", done.stdout, re.MULTILINE)
    assert {stage.partition("@")[0] for stage in ran} == {"device", "weigh", "judge"}
    assert files(clone) == files(built)
    for recipe in ("fp16", "w8"):
        there, here = (
            Measurement.read(root / f"measurements/{recipe}/onnxruntime@local.json") for root in (built, clone)
        )
        assert here.device.isa != there.device.isa
        assert here.candidate == there.candidate
        made = Manifest.read(clone / f"artifacts/recipes/{recipe}/onnxruntime/manifest.json")
        assert made.environment["isa"].split() != here.device.isa
    said = subprocess.run(
        ["weighbridge", "gate"], cwd=clone, env=variables, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_an_experiment_in_a_cache_of_links_is_gated_and_leaves_the_cache_whole(
    repository: Any, built: Path, tmp_path: Path
) -> None:
    """Measurements persist, and are written anew beside the cache, never through a link into it."""
    root = tmp_path / "net"
    shutil.copytree(built, root, symlinks=True)
    repository.run(root, "dvc", "config", "cache.type", "hardlink,symlink")
    repository.run(root, "dvc", "checkout", "--quiet", "--relink")
    steps = "recipes.w8.steps=[{quantize: {scheme: weight-int8, per_channel: false}}]"
    repository.run(root, "dvc", "exp", "run", "--quiet", "--set-param", steps)
    assert (
        yaml.safe_load((root / "params.yaml").read_text())["recipes"]["w8"]["steps"][0]["quantize"]["per_channel"]
        is False
    )
    assert "gate: pass" in repository.run(root, "weighbridge", "gate")
    objects = [path for path in (root / ".dvc/cache/files/md5").glob("*/*") if path.suffix != ".dir"]
    assert len(objects) > 10
    for path in objects:
        assert hashlib.md5(path.read_bytes()).hexdigest() == path.parent.name + path.name
    verdict = json.loads((root / "reports/verdict.json").read_text())
    assert verdict["recipes"]["w8"]["candidate"]["digest"] == files(root)["artifacts/recipes/w8/onnxruntime/model.onnx"]
