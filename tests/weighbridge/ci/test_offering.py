"""Which recipes `init` offers: a dry run on the model says, and where none can be made, the safe one."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from weighbridge.ci.offering import offered
from weighbridge.ci.scaffold import InitAnswers
from weighbridge.core.errors import InputError
from weighbridge.core.progress import silent

ANSWERS = InitAnswers("net", "npz_examples:load", (), onnx="net.onnx", npz="eval.npz")


def model(folder: Path, width: int, name: str = "x") -> None:
    """One layer of `width` inputs and three classes, and examples for it."""
    weight = np.random.default_rng(3).normal(0, 0.3, (width, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    x = np.random.default_rng(5).normal(0, 1, (64, width)).astype(np.float32)
    np.savez(folder / "eval.npz", **{name: x}, labels=(x @ weight).argmax(1))


def test_what_makes_the_file_smaller_is_offered(tmp_path: Path) -> None:
    """Both recipes that an ONNX file can have; nothing is written."""
    model(tmp_path, 600)
    offer = offered(tmp_path, ANSWERS, silent)
    assert offer.recipes == ("fp16", "int8-static")
    assert offer.notes == ()
    assert {path.name for path in tmp_path.iterdir()} == {"net.onnx", "eval.npz"}


def test_what_makes_it_larger_is_left_out_and_said(tmp_path: Path) -> None:
    """Eighteen weights: what quantization adds is more than what it saves."""
    model(tmp_path, 6)
    offer = offered(tmp_path, ANSWERS, silent)
    assert offer.recipes == ("fp16",)
    assert any("int8-static is left out: the file would have" in note for note in offer.notes)
    assert "at least one recipe" in offer.notes[-1]


def test_data_that_do_not_fit_the_model_are_refused(tmp_path: Path) -> None:
    """Here, and not in the third stage of the first run; the message says how to go on all the same."""
    model(tmp_path, 600, name="signal")
    with pytest.raises(InputError, match="--no-try") as found:
        offered(tmp_path, ANSWERS, silent)
    assert "'x' is not among the data's inputs" in str(found.value)


def test_without_torch_the_safe_recipe_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be tried is not promised."""
    model(tmp_path, 600)
    for name in [name for name in sys.modules if name.startswith("weighbridge.compress")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "weighbridge.compress.recipe.explain", None)
    offer = offered(tmp_path, ANSWERS, silent)
    assert offer.recipes == ("fp16",)
    assert "no recipe could be tried" in offer.notes[0]
