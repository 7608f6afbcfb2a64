"""Fixtures that more than one folder of tests uses."""

import pytest

from .github_api import Api, description


@pytest.fixture(scope="session")
def openapi(request):
    """GitHub's published OpenAPI description, fetched once from the npm registry."""
    return description(request.config.cache.mkdir("github-openapi"))


@pytest.fixture
def github_api(openapi):
    """A GitHub on loopback that accepts nothing but what the description allows."""
    with Api(openapi).serve() as api:
        yield api
        assert api.refused == []
