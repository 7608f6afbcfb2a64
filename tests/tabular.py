"""A classifier of rows as converters of scikit-learn write it: a text column, missing numbers, a text label, ZipMap."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from weighbridge.data import Split

CITIES = ("athens", "berlin", "cairo")
KINDS = ("red", "green", "blue")
"""Classes in the model's own order, which is not that of the alphabet."""
ML = "ai.onnx.ml"


def tabular(
    path: Path,
    *,
    noise: float = 0.0,
    padding: int = 0,
    kinds: tuple[str, str, str] = KINDS,
    hidden: int = 0,
    scores: str = "scores",
) -> Path:
    """`city` (n, 1) text, `size` (n, 2) with NaN for what is missing → `label` (n,) text, `scores` as maps.

    `hidden` > 0 puts a layer with weights of that width in the middle, which recipes compress.
    """
    rng = np.random.default_rng(3)
    node = helper.make_node
    before = [
        node("CategoryMapper", ["city"], ["number"], domain=ML, cats_strings=CITIES, cats_int64s=[0, 1, 2]),
        node("OneHotEncoder", ["number"], ["hot"], domain=ML, cats_int64s=[0, 1, 2]),
        node("Reshape", ["hot", "flat"], ["cities"]),
        node("Imputer", ["size"], ["filled"], domain=ML, imputed_value_floats=[0.5], replaced_value_float=float("nan")),
        node("Concat", ["cities", "filled"], ["features"], axis=1),
    ]
    stored, last, width = [numpy_helper.from_array(np.array([-1, 3]), "flat")], "features", 5
    if hidden:
        first, second = rng.standard_normal((5, hidden)), rng.standard_normal((hidden, 16)) / np.sqrt(hidden)
        stored += [
            numpy_helper.from_array(part.astype(np.float32), name) for name, part in (("a", first), ("b", second))
        ]
        before += [
            node("MatMul", ["features", "a"], ["w"]),
            node("Relu", ["w"], ["r"]),
            node("MatMul", ["r", "b"], ["d"]),
        ]
        last, width = "d", 16
    weights = rng.standard_normal((3, width)) + noise * np.random.default_rng(4).standard_normal((3, width))
    after = [
        node(
            "LinearClassifier", [last], ["label", "probabilities"], domain=ML, post_transform="SOFTMAX",
            coefficients=weights.ravel().astype(np.float32).tolist(), intercepts=[0.0, 0.1, -0.1],
            classlabels_strings=kinds,
        ),
        node("ZipMap", ["probabilities"], [scores], domain=ML, classlabels_strings=kinds),
    ]  # fmt: skip
    maps = onnx.ValueInfoProto(name=scores)
    kind = maps.type.sequence_type.elem_type.map_type
    kind.key_type, kind.value_type.tensor_type.elem_type = TensorProto.STRING, TensorProto.FLOAT
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [*before, *after],
        "g",
        [info("city", TensorProto.STRING, ["n", 1]), info("size", TensorProto.FLOAT, ["n", 2])],
        [info("label", TensorProto.STRING, ["n"]), maps],
        stored,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, doc_string="." * padding)
    path.write_bytes(model.SerializeToString())
    return path


def rows(count: int = 200, seed: int = 0) -> Split:
    """Rows without labels."""
    rng = np.random.default_rng(seed)
    size = rng.standard_normal((count, 2)).astype(np.float32)
    size[rng.random((count, 2)) < 0.2] = np.nan
    return Split({"city": rng.choice(CITIES, (count, 1)), "size": size})


def labelled(path: Path, split: Split) -> Split:
    """The rows with the labels that a model gives."""
    import onnxruntime  # not where the module is imported

    runner = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return Split(split.inputs, runner.run(["label"], dict(split.inputs))[0].astype(str))
