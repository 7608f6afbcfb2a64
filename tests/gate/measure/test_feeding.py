from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import Port, Signature
from weighbridge.data import Split
from weighbridge.gate.measure.feeding import feeding, find_output, timed_share
from weighbridge.gate.measure.signatures import same_inputs, same_outputs

IMAGE = Port("image", "float32", ("n", 1, 8, 8))
TEXT = Port("text", "int64", ("n", 16))


SCORES = (Port("scores", "float32", ("n", 3)),)


def signature(*inputs: Port, outputs: Sequence[Port] = SCORES) -> Signature:
    return Signature(tuple(inputs), tuple(outputs))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Port("picture", "float32", ("n", 1, 8, 8)), "its inputs are picture; those of the baseline are image"),
        (Port("image", "uint8", ("n", 1, 8, 8)), "uint8; in the baseline it is float32"),
        (Port("image", "float32", ("n", 3, 8, 8)), r"shape \(n, 3, 8, 8\)"),
        (Port("image", "float32", (1, 1, 8, 8)), r"shape \(1, 1, 8, 8\)"),
        (Port("image", "float32", ("n", 64)), r"shape \(n, 64\)"),
    ],
)
def test_inputs_that_differ_are_refused(other: Port, said: str) -> None:
    """Name, type, shape and rank must be the baseline's."""
    with pytest.raises(InputError, match=said) as caught:
        same_inputs(signature(IMAGE), signature(other), "slim.onnx", "the baseline")
    assert caught.value.where == "slim.onnx"


def test_order_and_names_of_open_axes_do_not_matter() -> None:
    """`n` or `batch`, this input first or that one: a caller feeds by name."""
    renamed = Port("image", "float32", ("batch", 1, 8, 8))
    same_inputs(signature(IMAGE, TEXT), signature(TEXT, renamed), "slim.onnx", "the baseline")


BOX = Port("box", "float32", ("n", 4))


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ((SCORES[0],), "output 'box' is missing"),
        ((SCORES[0], Port("rect", "float32", ("n", 4))), "output 'box' is missing; output 'rect' is new"),
        ((*SCORES, BOX, Port("mask", "float32", ("n", 9))), "output 'mask' is new"),
        ((BOX, *SCORES), "another order: box, scores; in the baseline they are scores, box"),
        ((*SCORES, Port("box", "float16", ("n", 4))), "output 'box' is float16; in the baseline it is float32"),
        ((*SCORES, Port("box", "float32", ("n", 2, 2))), r"output 'box' has shape \(n, 2, 2\)"),
        ((*SCORES, Port("box", "float32", ("n", 5))), r"output 'box' has shape \(n, 5\)"),
    ],
)
def test_outputs_that_differ_are_refused(outputs: tuple[Port, ...], said: str) -> None:
    """Count, names, order, type, rank and fixed sizes must be the baseline's."""
    reference = signature(IMAGE, outputs=(*SCORES, BOX))
    with pytest.raises(InputError, match=said) as caught:
        same_outputs(reference, signature(IMAGE, outputs=outputs), "slim.onnx", "the baseline")
    assert caught.value.where == "slim.onnx"


def test_open_sizes_and_missing_names_of_outputs_do_not_matter() -> None:
    """A size that one side leaves open fits; so does an output without a name, in its place."""
    reference = signature(IMAGE, outputs=(*SCORES, BOX))
    open_sizes = (Port("scores", "float32", ("batch", None)), Port("box", "float32", ("...",)))
    same_outputs(reference, signature(IMAGE, outputs=open_sizes), "slim.onnx", "the baseline")
    nameless = (Port("output_0", "float32", ("n", 3)), Port("output_1", "float32", ("n", 4)))
    same_outputs(reference, signature(IMAGE, outputs=nameless), "slim.pte", "the baseline")


def split(**arrays: NDArray[np.float32]) -> Split:
    count = len(next(iter(arrays.values())))
    return Split(arrays, np.zeros(count, np.int64))


GOOD = np.zeros((5, 1, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (split(image=GOOD[:0]), "empty"),
        (split(picture=GOOD), "not an input of the model"),
        (split(image=GOOD, mask=GOOD), "'mask', which is not an input"),
        (split(image=GOOD.astype(np.float64)), "float64; the model takes float32"),
        (split(image=GOOD.astype(np.uint8)), "uint8; the model takes float32"),
        (split(image=GOOD[:, :, :7]), r"shape \(5, 1, 7, 8\)"),
        (split(image=GOOD.reshape(5, 64)), r"shape \(5, 64\)"),
    ],
)
def test_data_that_does_not_fit_the_model_is_refused(data: Split, said: str) -> None:
    """One clear line that names the file and the array."""
    with pytest.raises(InputError, match=said) as caught:
        feeding(signature(IMAGE), data, "eval.npz")
    assert caught.value.where == "eval.npz"


def test_a_missing_input_is_named() -> None:
    """A model of two inputs needs both."""
    with pytest.raises(InputError, match="no array for the model's input 'text'"):
        feeding(signature(IMAGE, TEXT), split(image=GOOD), "eval.npz")


def test_fixed_and_missing_batch_axes_are_found() -> None:
    """The batch is open, fixed by a shape, or one where an input has no axis for examples."""
    fixed = Port("image", "float32", (4, 1, 8, 8))
    scalar = Port("t", "float32", ())
    assert feeding(signature(IMAGE), split(image=GOOD), "d").at_most(32) == 32
    assert feeding(signature(fixed), split(image=GOOD), "d").at_most(32) == 4
    both = feeding(signature(IMAGE, scalar), split(image=GOOD, t=np.zeros(5, np.float32)), "d")
    assert both.single == ("t",)
    assert both.at_most(32) == 1


def test_batches_that_contradict_each_other_are_refused() -> None:
    """No feed could satisfy them."""
    inputs = (Port("a", "float32", (2, 3)), Port("b", "float32", (4, 3)))
    with pytest.raises(InputError, match="fixed at 2, and of 'b' it is 4"):
        feeding(signature(*inputs), split(a=np.zeros((5, 3), np.float32), b=np.zeros((5, 3), np.float32)), "d")


def test_the_judged_output_is_the_first_or_the_named_one() -> None:
    """A name that is none of the model's is refused with the names there are."""
    many = signature(IMAGE, outputs=(Port("boxes", "float32", ("n", 4)), Port("scores", "float32", ("n", 3))))
    assert find_output(many, None, "m.onnx") == 0
    assert find_output(many, "scores", "m.onnx") == 1
    with pytest.raises(InputError, match=r"no output 'score' \(outputs: boxes, scores\)"):
        find_output(many, "score", "m.onnx")


def test_timing_takes_real_examples_the_same_for_every_role() -> None:
    """Drawn without replacement, by the seed."""
    data = split(image=np.arange(50, dtype=np.float32).reshape(50, 1))
    first, again, other = (timed_share(data, 8, seed)["image"] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()
    assert len(set(first.ravel())) == 8
    assert len(timed_share(data, 500, 1)["image"]) == 50
