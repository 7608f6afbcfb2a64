"""A site of a registry worth looking at, built once."""

import pytest

from tests.registry.publish.showcase import showcase
from weighbridge.registry.site.build import build


@pytest.fixture(scope="package")
def registry_root(tmp_path_factory):
    """The project that the site is of."""
    return showcase(tmp_path_factory.mktemp("show") / "project").root


@pytest.fixture(scope="package")
def site(registry_root, tmp_path_factory):
    """The site's folder."""
    out = tmp_path_factory.mktemp("site") / "site"
    build(registry_root, out)
    return out
