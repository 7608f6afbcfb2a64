"""One file a target. A file here is loaded by path into the worker process, so it imports its runtime and nothing else.

Each has `version() -> str` and `load(path, threads) -> model`, where `model.run(feed) -> list of arrays`; onnxruntime's
takes `libraries` of custom operators too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from weighbridge.core.facts.targets import TARGETS

ADAPTERS: Mapping[str, Path] = {name: Path(__file__).with_name(f"{name}.py") for name in TARGETS}
"""Target → the file that the worker loads."""
