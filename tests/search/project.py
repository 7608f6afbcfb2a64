"""A small project to search recipes for."""

from pathlib import Path
from typing import Any

import yaml

from tests.compress.nets import features
from weighbridge.data import Data, Split

BUDGETS = [{"metric": "size.bytes", "max_ratio": 0.9}, {"metric": "accuracy.top1", "max_drop": 0.1}]


def project(root: Path, **sections: dict[str, Any] | list[Any] | None) -> Path:
    """Write `params.yaml`; keywords replace sections."""
    content = {
        "model": {"name": "tiny", "factory": "tests.compress.nets:MLP"},
        "data": {"factory": "tests.compress.factories:clouds"},
        "train": {"epochs": 4, "batch_size": 32, "lr": 0.02, "seed": 3},
        "recipes": {"int8": {"steps": [{"quantize": {"scheme": "static-int8"}}]}},
        "search": {"widths": [0.5], "factors": [0.25], "sparsities": [0.5, 0.8], "bits": [2, 4]},
        "budgets": BUDGETS,
    }
    content.update(sections)
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(yaml.safe_dump({key: value for key, value in content.items() if value}))
    return root


def many() -> Data:
    """Enough examples of three classes to hold parts out."""
    return Data(train=features(600, 0), test=features(60, 1))


def wrong_test() -> Data:
    """The same training examples, and a test split whose labels are all wrong."""
    data = many()
    return Data(train=data.train, test=Split(data.test.inputs, (data.test.labels + 1) % 3))
