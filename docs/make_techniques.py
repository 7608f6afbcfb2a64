"""Writes what is known of techniques without torch: phases and schemas, for editors and the pre-commit hook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from weighbridge.compress.recipe.recipe import TECHNIQUES

FILE = Path(__file__).parent.parent / "weighbridge/ci/templates/techniques.json"


def content() -> str:
    """The file's text."""
    known: dict[str, Any] = {
        name: {
            "phases": [kind for kind in ("module", "lower") if getattr(technique, kind) is not None],
            "decided": technique.phases is not None,
            "schema": technique.config.model_json_schema(),
        }
        for name, technique in TECHNIQUES.items()
    }
    return json.dumps(known, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(content())
