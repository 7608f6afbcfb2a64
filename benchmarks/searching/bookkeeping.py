"""How long ten thousand items take that take no time: planned, cut into parts, begun in order, stamped, read again.

The items' own files lie there before the clock starts: to write them is work, not bookkeeping.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from tests.search.project import BUDGETS
from weighbridge.core.documents import Params
from weighbridge.search.carrying_out import execute
from weighbridge.search.done_items import Stamps
from weighbridge.search.plan import Item, plan, shard

RECIPES = 5000


def bookkeeping() -> dict[str, Any]:
    """Seconds of each part, for 5,000 recipes on one device."""
    recipes = {f"r{number}": {"steps": [{"share": {"bits": 1 + number % 8}}]} for number in range(RECIPES)}
    model = {"name": "net", "factory": "some.model:Net"}
    params = Params.model_validate(
        {"model": model, "data": {"factory": "some.data:load"}, "recipes": recipes, "budgets": BUDGETS}
    )
    with tempfile.TemporaryDirectory() as folder:
        stamps = Stamps(Path(folder))
        for item in plan(params, "sha256:1"):
            path = stamps.root / item.patterns[0].replace("**/*", "model.onnx").replace("*", "onnxruntime")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(item.key)
        begin = time.perf_counter()
        items = plan(params, "sha256:1")
        parts = [shard(items, f"{part}/8") for part in range(1, 9)]
        planned = time.perf_counter()

        def work(item: Item) -> int:
            return stamps.do(item, lambda: 0)

        ended = [item.key for item, code in execute(items, work, stamps, workers=2) if code == 0]
        carried = time.perf_counter()
        done = sum(stamps.done(item) for item in items)
        end = time.perf_counter()
    return {
        "items": len(items),
        "in_parts": sum(map(len, parts)),
        "ended_once": len(set(ended)) if len(set(ended)) == len(ended) else 0,
        "done": done,
        "plan_seconds": planned - begin,
        "carry_out_seconds": carried - planned,
        "look_seconds": end - carried,
        "seconds": end - begin,
    }
