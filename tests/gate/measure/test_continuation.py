"""Texts that a model goes on with: the tokens are those that numpy finds by reading the whole text again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.gate.measure.test_tokens import CACHED, WORDS, language, texts, told
from tests.gate.models import artifact, save
from weighbridge.core.answers.decisions import UnfitError
from weighbridge.core.formats.onnx_file import load_model, signature
from weighbridge.data import Split
from weighbridge.gate.measure.continuation import SECONDS, continued, reader
from weighbridge.gate.measure.feeding import feeding
from weighbridge.gate.measure.process import load_into, start_worker


def whole(path: Path, *, others: list[str] = (), tokens: int | str = "t") -> Path:
    """`tokens` (n, t) → `logits` (n, t, 11) of the mean of all that was read, without a cache."""
    model = load_model(language(path))
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    node, info = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("Gather", ["words", "tokens"], ["read"]),
        node("ReduceMean", ["read", "one"], ["mean"]),
        node("Add", ["read", "mean"], ["both"]),
        node("MatMul", ["both", "out"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            info("tokens", TensorProto.INT64, ["n", tokens]),
            *(info(name, TensorProto.FLOAT, ["n", "t"]) for name in others),
        ],
        [info("logits", TensorProto.FLOAT, ["n", tokens, WORDS])],
        [numpy_helper.from_array(stored[name], name) for name in ("words", "one", "out")],
    )
    return save(path, graph, opset=18)


def expected(path: Path, prompt: Any, count: int) -> list[Any]:
    """The likeliest tokens by numpy."""
    stored = {item.name: numpy_helper.to_array(item) for item in load_model(path).graph.initializer}
    read = list(prompt)
    for _ in range(count):
        rows = stored["words"][read]
        read.append(int(((rows[-1] + rows.mean(axis=0)) @ stored["out"]).argmax()))
    return read[len(prompt) :]


def gone_on(
    path: Path, split: Split, declared: dict[str, Any] | None, count: int, **more: Any
) -> tuple[Any, list[int]]:
    """What the model of a file adds to the first example's first five tokens."""
    sign = signature(load_model(path))
    how = reader(sign, feeding(sign, split, "data", declared), 0)
    begin = how.beginning(split.inputs, 0, 5)
    with start_worker(artifact(path)) as worker:
        load_into(worker, artifact(path))
        return begin[how.tokens][0].tolist(), continued(worker, how, begin, count, **more)


def test_with_a_cache_a_text_goes_on_as_if_it_was_read_whole(tmp_path: Path) -> None:
    """One token each time, and the cache of all before it."""
    path = language(tmp_path / "a.onnx")
    prompt, found = gone_on(path, texts(), told(**CACHED), 9)
    assert prompt == texts().inputs["tokens"][0, :5].tolist()
    assert found == expected(path, prompt, 9)
    assert len(set(found)) > 1


def test_without_a_cache_the_whole_text_is_read_each_time(tmp_path: Path) -> None:
    """A file that takes any number of tokens needs no declaration."""
    path = whole(tmp_path / "a.onnx")
    prompt, found = gone_on(path, Split({"tokens": texts().inputs["tokens"]}), {}, 9)
    assert found == expected(path, prompt, 9)


def test_a_slow_model_is_not_waited_for(tmp_path: Path) -> None:
    """One token there always is; the clock ends the rest."""
    ticks = iter(np.arange(100) * SECONDS / 2.5)
    _, found = gone_on(language(tmp_path / "a.onnx"), texts(), told(**CACHED), 50, clock=lambda: next(ticks))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("make", "declared", "arrays", "reason"),
    [
        (lambda path: language(path, tokens=6), CACHED, {}, "'tokens' takes 6 tokens and no other number"),
        (lambda path: whole(path, tokens=6), {}, {}, "'tokens' takes 6 tokens and no other number"),
        (
            lambda path: whole(path, others=["mask"]),
            {},
            {"mask": np.ones((8, 6), np.float32)},
            "how the input 'mask' grows",
        ),
    ],
)
def test_what_cannot_be_continued_says_why(
    tmp_path: Path,
    make: Callable[[Path], Path],
    declared: dict[str, dict[str, str]],
    arrays: dict[str, NDArray[np.float32]],
    reason: str,
) -> None:
    """Before a process is started."""
    path = make(tmp_path / "a.onnx")
    sign = signature(load_model(path))
    given = {name: array for name, array in texts().inputs.items() if name == "tokens" or declared}
    given["tokens"] = given["tokens"][:, :6]
    split = Split({**given, **arrays}, groups=np.arange(8))
    with pytest.raises(UnfitError, match=reason):
        reader(sign, feeding(sign, split, "data", told(**declared)), 0)


def test_an_output_that_gives_no_logits_is_named(tmp_path: Path) -> None:
    """A classifier's scores are none."""
    path = tmp_path / "a.onnx"
    model = load_model(whole(path))
    model.graph.node[-1].input[0] = "flat"
    model.graph.node.insert(3, helper.make_node("ReduceMean", ["both", "one"], ["flat"], keepdims=0))
    del model.graph.output[0].type.tensor_type.shape.dim[1]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnfitError, match=r"shape \(1, 11\) gives no logits"):
        gone_on(path, Split({"tokens": texts().inputs["tokens"]}), {}, 2)
