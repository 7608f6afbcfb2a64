"""A registry with tiny models that run, and servers in the test's own process or beside it."""

import shutil
from pathlib import Path

import pytest

from tests.registry import project as made
from tests.registry.conftest import _no_outside_git  # noqa: F401  # the machine's own git must not decide
from tests.serve import world
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote


@pytest.fixture(scope="session")
def _registry_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """v1, then v2 stable; v3 recorded, on no channel."""
    root = made.make_repository(tmp_path_factory.mktemp("serve") / "registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            made, "candidate_bytes", lambda recipe, generation=1, target="onnxruntime": world.model(generation)
        )
        for generation, channel in ((1, "stable"), (2, "stable"), (3, "none")):
            made.write_run(root, generation)
            made.commit_all(root)
            promote(root, PromotionRequest("int8", channel=channel))
    return root


@pytest.fixture
def registry(_registry_template: Path, tmp_path: Path) -> Path:
    """A registry of its own, as a folder that has the bytes."""
    return shutil.copytree(_registry_template, tmp_path / "registry")
