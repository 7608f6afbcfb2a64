"""A project's files by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PARAMS = "params.yaml"
PIPELINE = "dvc.yaml"
LOCK = "dvc.lock"
WAIVERS = "waivers"
DATA = "artifacts/data/data.json"
DEVICE = "artifacts/device.json"
COMMAND = re.compile(r"\bweighbridge['\"]?\s+['\"]?stage['\"]?\s+['\"]?(?P<kind>[a-z]+)")
"""A stage of ours in a command, however it is spaced."""
RERUN = "run `dvc repro` and commit what it changes"


def without_anchors(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Without the keys at top level that start with `x-`: they only keep YAML anchors."""
    return {str(key): value for key, value in content.items() if not str(key).startswith("x-")}
