"""Runs in Olive's own environment: one search of Olive, its TPE sampler, its passes and its metrics.

The passes are those of Olive 0.13 that compress a finished ONNX convolutional network without further packages: static
and dynamic quantization with all that Olive itself searches of it, half precision, and 4-bit weights in blocks. Olive
has no pass that prunes or trains such a network.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 256


def configuration(asked: dict[str, Any]) -> dict[str, Any]:
    """The workflow: goals as ours, a point of accuracy; bytes and latency to be made small."""
    folder = Path(asked["folder"])
    with np.load(folder / "calibration.npz") as parts:
        shape = list(parts["input"].shape[1:])
    metrics = [
        {
            "name": "accuracy",
            "type": "accuracy",
            "data_config": "stop",
            "sub_types": [
                {
                    "name": "accuracy_score",
                    "priority": 1,
                    "metric_config": {"task": "multiclass", "num_classes": asked["classes"]},
                    "goal": {"type": "max-degradation", "value": 0.01},
                }
            ],
        },
        {
            "name": "latency",
            "type": "latency",
            "sub_types": [{"name": "p50", "priority": 2, "metric_config": {"repeat_test_num": 200}}],
            "data_config": "one",
            "user_config": {"inference_settings": {"onnx": {"session_options": {"intra_op_num_threads": 1}}}},
        },
        {"name": "size", "type": "size_on_disk", "sub_types": [{"name": "bytes", "priority": 3}]},
    ]
    one = {"input_shapes": [[1, *shape]], "input_names": [asked["name"]], "input_types": ["float32"]}
    return {
        "input_model": {"type": "ONNXModel", "model_path": asked["baseline"]},
        "data_configs": [
            _images("calibration", asked, 1),
            _images("stop", asked, BATCH),
            {"name": "one", "type": "DummyDataContainer", "load_dataset_config": {"params": one}},
        ],
        "evaluators": {"ours": {"metrics": metrics}},
        "passes": {
            "form": [
                {"type": "OnnxQuantization", "data_config": "calibration"},
                {"type": "OnnxFloatToFloat16"},
                {"type": "OnnxBlockWiseRtnQuantization"},
            ]
        },
        "search_strategy": {
            "execution_order": "joint",
            "sampler": "tpe",
            "sampler_config": {"seed": asked["seed"]},
            "max_time": int(asked["seconds"]),
        },
        "evaluator": "ours",
        "evaluate_input_model": True,
        "cache_dir": str(folder / "cache"),
        "clean_cache": True,
        "output_dir": str(folder / "out"),
        "log_severity_level": 1,
    }


def _images(part: str, asked: dict[str, Any], batch: int) -> dict[str, Any]:
    params = {"examples": str(Path(asked["folder"]) / f"{part}.npz"), "input_name": asked["name"]}
    return {
        "name": part,
        "type": "DataContainer",
        "load_dataset_config": {"type": "images", "params": params},
        "dataloader_config": {"params": {"batch_size": batch}},
        "post_process_data_config": {"type": "text_classification_post_process"},
    }


def main() -> None:
    """Search. What is evaluated lies in Olive's cache, also of a search that is ended."""
    from olive.common import config_utils  # Olive's environment alone
    from olive.data.registry import Registry
    from olive.workflows import run

    register(Registry)
    config_utils.CaseInsensitiveEnum._missing_ = classmethod(_known)
    run(configuration(json.loads(Path(sys.argv[1]).read_text())))


def _known(cls: Any, value: Any) -> Any:
    """The member of that name; Olive 0.13 breaks off on `"type": null`, which its own evaluator section writes."""
    return next((member for member in cls if isinstance(value, str) and member.value.lower() == value.lower()), None)


def register(registry: Any) -> None:
    """Make the images of both parts known to Olive."""
    from torch.utils.data import Dataset

    class Images(Dataset):  # type: ignore[misc]
        """Examples of one part, one by one."""

        def __init__(self, examples: str, input_name: str, **_: Any) -> None:
            with np.load(examples) as part:
                self.images, self.labels, self.name = part["input"], part["labels"], input_name

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> tuple[dict[str, Any], int]:
            return {self.name: self.images[index]}, int(self.labels[index])

    registry.register_dataset(name="images")(Images)


if __name__ == "__main__":
    main()
