"""A site of a registry worth looking at, built once."""

from pathlib import Path

import pytest

from tests.registry.publish.showcase import showcase
from weighbridge.registry.site.build import build


@pytest.fixture(scope="package")
def registry_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project that the site is of."""
    return showcase(tmp_path_factory.mktemp("show") / "project").root


@pytest.fixture(scope="package")
def site(registry_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site's folder."""
    out = tmp_path_factory.mktemp("site") / "site"
    build(registry_root, out)
    return out
