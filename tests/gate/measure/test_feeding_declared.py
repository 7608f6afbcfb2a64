"""Inputs whose feeding shapes do not tell: declared, refused where ambiguous, and carried along a stream."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.gate.models import artifact, save
from weighbridge.core.documents import InputSection
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import load_model, signature
from weighbridge.data import Split
from weighbridge.gate.measure.evaluation import Manner, answer
from weighbridge.gate.measure.feeding import Feeding, feeding
from weighbridge.gate.measure.streams import with_states

RNG = np.random.default_rng(0)
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64


def recurrent(path: Path, decay: float = 0.5) -> Path:
    """`x` (n, 3), `state` (2, n, 3) → `y` (n, 3) = x + state[0] + state[1]; `new_state` = decay · state + x / 2."""
    nodes = [
        helper.make_node("ReduceSum", ["state", "first"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
        helper.make_node("Mul", ["state", "decay"], ["kept"]),
        helper.make_node("Mul", ["x", "half"], ["part"]),
        helper.make_node("Add", ["kept", "part"], ["new_state"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", FLOAT, ["n", 3]), info("state", FLOAT, [2, "n", 3])],
        [info("y", FLOAT, ["n", 3]), info("new_state", FLOAT, [2, "n", 3])],
        [
            numpy_helper.from_array(np.array([0], np.int64), "first"),
            numpy_helper.from_array(np.float32(decay), "decay"),
            numpy_helper.from_array(np.float32(0.5), "half"),
        ],
    )
    return save(path, graph)


def by_hand(x: NDArray[np.float32], begins: Any, decay: float = 0.5) -> NDArray[Any]:
    """The same in numpy, one example after the other."""
    found, state = [], np.zeros((2, 3))
    for row, new in zip(x, begins, strict=True):
        state = np.zeros((2, 3)) if new else state
        found.append(row + state.sum(0))
        state = decay * state + row / 2
    return np.stack(found)


def fed(path: Path, split: Split, **declared: dict[str, Any]) -> tuple[Split, Feeding]:
    """Signature, examples with states, and feeding."""
    told = {name: InputSection.model_validate(value) for name, value in declared.items()}
    found = signature(load_model(path))
    split = with_states(found, split, told)
    return split, feeding(found, split, "eval.npz", told)


def test_a_fixed_first_axis_beside_an_open_one_must_be_declared(tmp_path: Path) -> None:
    """A 2 that counts layers would be taken for two examples, each with the other's state."""
    path = recurrent(tmp_path / "model.onnx")
    split = Split({"x": RNG.standard_normal((8, 3)).astype(np.float32), "state": np.zeros((8, 2, 3), np.float32)})
    with pytest.raises(InputError, match=r"fixed at 2, and of 'x' it is open.*state: \{batch_axis: 1\}"):
        fed(path, Split({**split.inputs, "state": np.zeros((8, 8, 3), np.float32)}))
    _, found = fed(path, split, state={"batch_axis": 1})
    assert (found.batch, found.how, found.streams) == (None, {"axes": {"state": 1}}, False)


def test_an_axis_that_the_outputs_begin_with_is_the_batch(tmp_path: Path) -> None:
    """`x (2, n, 3)` → `y (n, 3)`: two is no batch, though no other input says so."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], "g",
        [info("x", FLOAT, [2, "n", 3])], [info("y", FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.array([0], np.int64), "axes")],
    )  # fmt: skip
    path = save(tmp_path / "model.onnx", graph)
    with pytest.raises(InputError, match="outputs begin with 'n', which is another axis of it"):
        fed(path, Split({"x": np.zeros((4, 8, 3), np.float32)}))
    x = RNG.standard_normal((8, 2, 3)).astype(np.float32)
    split, found = fed(path, Split({"x": x}), x={"batch_axis": 1})
    (y,), _ = answer(artifact(path), split, [0], Manner(found, 4))
    np.testing.assert_allclose(y, x.sum(1), rtol=1e-6)


def test_states_of_examples_do_not_mix(tmp_path: Path) -> None:
    """Each example has its own state, in batches of any size, and the output's own axis comes back first."""
    path = recurrent(tmp_path / "model.onnx")
    x, state = (RNG.standard_normal(shape).astype(np.float32) for shape in ((9, 3), (9, 2, 3)))
    split, found = fed(path, Split({"x": x, "state": state}), state={"batch_axis": 1})
    (y,), _ = answer(artifact(path), split, [0], Manner(found, 4))
    np.testing.assert_allclose(y, x + state.sum(1), rtol=1e-5)


@pytest.mark.parametrize("count", [40, 700])
def test_a_carried_state_runs_along_a_stream(tmp_path: Path, count: int) -> None:
    """From zeros, over requests of any length; another group begins a new stream. So drift is in the answers."""
    path = recurrent(tmp_path / "model.onnx")
    x = RNG.standard_normal((count, 3)).astype(np.float32)
    groups = np.arange(count) // (count // 2)
    split, found = fed(path, Split({"x": x}, groups=groups), state={"batch_axis": 1, "carry": "new_state"})
    assert found.streams
    assert found.at_most(64) == 1
    outputs, _ = answer(artifact(path), split, [0, 1], Manner(found, 1))
    begins = np.r_[True, groups[1:] != groups[:-1]]
    np.testing.assert_allclose(outputs[0], by_hand(x, begins), rtol=1e-4, atol=1e-5)
    assert outputs[1].shape == (count, 2, 3)
    drifting, _ = answer(artifact(recurrent(tmp_path / "other.onnx", 0.6)), split, [0], Manner(found, 1))
    apart = np.abs(drifting[0] - outputs[0]).max(1)
    assert apart[0] == apart[1] == 0 < apart[10]


def test_a_constant_needs_no_batch_of_its_own(tmp_path: Path) -> None:
    """A 0-d sampling rate: declared, examples go in batches; one that changes is refused."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Cast", ["sr"], ["rate"], to=FLOAT), helper.make_node("Mul", ["x", "rate"], ["y"])], "g",
        [info("x", FLOAT, ["n", 3]), info("sr", INT, [])], [info("y", FLOAT, ["n", 3])], [],
    )  # fmt: skip
    path = save(tmp_path / "model.onnx", graph)
    x = RNG.standard_normal((9, 3)).astype(np.float32)
    split, found = fed(path, Split({"x": x, "sr": np.full(9, 16)}), sr={"constant": True})
    assert found.at_most(4) == 4
    (y,), _ = answer(artifact(path), split, [0], Manner(found, 4))
    np.testing.assert_allclose(y, x * 16, rtol=1e-6)
    assert fed(path, split)[1].at_most(4) == 1  # undeclared, one example at a time, as before
    with pytest.raises(InputError, match="'sr' has several values"):
        fed(path, Split({"x": x, "sr": np.arange(9)}), sr={"constant": True})


def test_what_is_declared_wrongly_is_named(tmp_path: Path) -> None:
    """Inputs, outputs and axes that do not exist; keys that contradict each other."""
    path = recurrent(tmp_path / "model.onnx")
    x = {"x": np.zeros((4, 3), np.float32)}
    for declared, problem in (
        ({"stat": {"batch_axis": 1}}, "has no array for the model's input 'state'"),
        ({"state": {"batch_axis": 1, "carry": "state"}}, "has no output 'state'"),
    ):
        with pytest.raises(InputError, match=problem):
            fed(path, Split(x), **declared)
    full = Split({**x, "state": np.zeros((4, 2, 3), np.float32)})
    with pytest.raises(InputError, match="'rate' is not an input of the model"):
        fed(path, full, rate={"constant": True}, state={"batch_axis": 1})
    with pytest.raises(InputError, match="has no axis 5"):
        fed(path, full, state={"batch_axis": 5})
    with pytest.raises(ValueError, match="expected one of"):
        InputSection()
    with pytest.raises(ValueError, match="neither 'batch_axis' nor 'carry'"):
        InputSection(constant=True, batch_axis=1)
    model = onnx.load(recurrent(tmp_path / "open.onnx"))
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "layers"
    onnx.save(model, tmp_path / "open.onnx")
    with pytest.raises(InputError, match="how large its first state is cannot be told"):
        fed(tmp_path / "open.onnx", Split(x), state={"batch_axis": 1, "carry": "new_state"})
