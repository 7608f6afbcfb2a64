"""Fixtures that more than one folder of tests uses."""

import gc
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.github_api import DESCRIPTION, Api
from weighbridge.entry import COLLECT_AFTER

# No test asserts on wall time, and neither does hypothesis: a busy machine is no defect. The examples are the same in
# every run, so that a change fails for what it did; HYPOTHESIS_PROFILE=explore draws new ones, and many.
settings.register_profile("unhurried", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "unhurried"))

# As the command line does, for the same reason.
gc.set_threshold(COLLECT_AFTER)

# A run on several cores sets this, and what commands print would follow it: tests of widths set their own.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def openapi() -> dict[str, Any]:
    """GitHub's published OpenAPI description, as far as our requests need it."""
    return json.loads(DESCRIPTION.read_text())


@pytest.fixture
def github_api(openapi: dict[str, Any]) -> Iterator[Api]:
    """A GitHub on loopback that accepts nothing but what the description allows."""
    with Api(openapi).serve() as api:
        yield api
        assert api.refused == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end, one of them would keep one core busy and the other idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-goldens` writes what renderers print now over the files that tests compare with."""
    parser.addoption("--update-goldens", action="store_true", help="write golden files anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a whole string with a golden file beside the test; `--update-goldens` writes it anew."""

    def compare(name: str, text: str) -> None:
        path = request.path.parent / "goldens" / name
        if request.config.getoption("--update-goldens"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text()

    return compare
