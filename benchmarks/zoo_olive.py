"""Olive's passes on one model, in an environment that has Olive: no part of Weighbridge is imported here.

    python benchmarks/zoo_olive.py PASS FLOAT FEEDS OUT

`PASS` is a class of `olive.passes.onnx.quantization`, run by its defaults; `FEEDS` is an .npz of arrays `INDEX INPUT`,
what the model gets of one example after the other. Writes the one file of the model that comes of it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx


def main(name: str, source: str, given: str, out: str) -> None:
    """Run the pass; what it raises ends the process."""
    from olive.data.registry import Registry
    from olive.model import ONNXModelHandler
    from olive.passes.olive_pass import create_pass_from_dict
    from olive.passes.onnx import quantization

    rows: dict[int, dict[str, Any]] = {}
    for key, array in np.load(given).items():
        index, _, port = key.partition(" ")
        rows.setdefault(int(index), {})[port] = array

    @Registry.register_dataset("feeds")
    def dataset(**_: Any) -> list[tuple[dict[str, Any], int]]:
        return [(row, 0) for row in rows.values()]

    data = {"name": "feeds", "type": "DataContainer", "load_dataset_config": {"type": "feeds"}}
    data |= {"dataloader_config": {"type": "no_auto_batch_dataloader"}}
    settings = {"data_config": data} if "Static" in name else {}
    chosen = create_pass_from_dict(getattr(quantization, name), settings, disable_search=True)
    with tempfile.TemporaryDirectory() as folder:
        made = chosen.run(ONNXModelHandler(source), str(Path(folder) / "made"))
        onnx.save(onnx.load(made.model_path), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
