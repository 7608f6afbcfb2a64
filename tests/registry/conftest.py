"""Projects of the registry's tests, made once and copied."""

import importlib.util
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.registry import project as made
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.state.tip import Settings

# They run in the environment of promoting, by `make test`: sigstore does not install beside the LiteRT converter.
collect_ignore = [] if importlib.util.find_spec("sigstore") else ["trust/test_keyless.py"]


@pytest.fixture(autouse=True, scope="session")
def _no_outside_git() -> Iterator[None]:
    """The machine's own git configuration and a signing key in the environment must not decide a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        patch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
        patch.delenv("WEIGHBRIDGE_SIGNING_KEY", raising=False)
        yield


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = made.make_repository(tmp_path_factory.mktemp("template") / "project")
    made.write_run(root)
    made.commit_all(root)
    return root


@pytest.fixture(scope="session")
def _promoted_template(_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "promoted"
    shutil.copytree(_template, root)
    promote(root, PromotionRequest("int8"))
    made.write_run(root, 2)
    made.commit_all(root)
    promote(root, PromotionRequest("int8"))
    return root


@pytest.fixture
def project(_template: Path, tmp_path: Path) -> Path:
    """A committed pipeline run of which nothing is promoted yet."""
    return shutil.copytree(_template, tmp_path / "project")


@pytest.fixture
def pipeline_run(_template: Path, tmp_path: Path) -> Path:
    """As `project`, for tests whose module calls another thing so."""
    return shutil.copytree(_template, tmp_path / "pipeline-run")


@pytest.fixture
def promoted(_promoted_template: Path, tmp_path: Path) -> Path:
    """The same after two promotions: v1 was stable, v2 is."""
    return shutil.copytree(_promoted_template, tmp_path / "promoted")


@pytest.fixture
def remote(project: Path, tmp_path: Path) -> Any:
    """A bare remote of `project`, and a function that clones it with what the pipeline made."""
    bare = tmp_path / "remote.git"
    made.git(tmp_path, "clone", "-q", "--bare", str(project), str(bare))

    def clone(name: str) -> Path:
        root = tmp_path / name
        made.git(tmp_path, "clone", "-q", str(bare), str(root))
        made.identify(root, name, f"{name}@example.org")
        for folder in ("artifacts", "measurements", ".dvc"):
            shutil.copytree(project / folder, root / folder)
        return root

    clone.path = bare  # type: ignore[attr-defined]
    return clone


@pytest.fixture
def settings() -> Settings:
    """No real waiting, and the same chance each time."""
    return Settings(jitter=random.Random(1), sleep=lambda _: None)
