"""Batching: requests share runs, fail alone, and are refused where the queue is full or the model hangs."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from weighbridge.core.errors import MeasurementError
from weighbridge.serve.models import batching
from weighbridge.serve.models.batching import Batcher, Batching, BusyError
from weighbridge.serve.models.runtimes import Loaded
from weighbridge.serve.tensors import Spec

SPEC = Spec("x", "FP32", (-1, 1))


class Model:
    """Doubles its input; waits where told to, and remembers the sizes of its runs."""

    def __init__(self) -> None:
        self.sizes, self.gate, self.began = [], threading.Event(), threading.Event()
        self.gate.set()

    def run(self, feed: Mapping[str, NDArray[Any]]) -> list[Any]:
        self.began.set()
        self.gate.wait(20)
        x = feed["x"]
        self.sizes.append(len(x))
        if (x < 0).any():
            raise RuntimeError("negative")
        return [x * 2]

    def batcher(self, spec: Spec = SPEC, **settings: float) -> Batcher:
        return Batcher(Loaded((spec,), (spec,), "test", self.run), Batching(**settings))


def _x(value: int, rows: int = 1) -> dict[str, NDArray[Any]]:
    return {"x": np.full((rows, 1), value, np.float32)}


async def _while_busy(model: Model, batcher: Batcher, feeds: list[dict[str, NDArray[Any]]]) -> list[Any]:
    """Start one request that waits in the model, then these; the answers of these."""
    model.gate.clear()
    first = asyncio.create_task(batcher.run(_x(0)))
    await asyncio.sleep(0.05)
    rest = [asyncio.create_task(batcher.run(feed)) for feed in feeds]
    await asyncio.sleep(0.05)
    model.gate.set()
    await first
    return await asyncio.gather(*rest, return_exceptions=True)


@pytest.mark.parametrize(
    "arrays",
    [
        [np.zeros((2, 0, 3), np.float32)] * 2,
        [np.array([True]), np.array([False, True])],
        [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(9.0).reshape(3, 3)[::2]],
        [np.full((1, 2, 2), 1, np.float16), np.full((3, 2, 2), 2, np.float16)],
    ],
    ids=["no values", "booleans", "other orders", "half precision"],
)
def test_inputs_are_joined_as_numpy_joins_them(arrays: list[NDArray[Any]]) -> None:
    found, expected = batching._joined(arrays), np.concatenate(arrays)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_requests_that_wait_run_together_and_each_gets_its_own_answer() -> None:
    model = Model()
    batcher = model.batcher(rows=6)
    answers = asyncio.run(_while_busy(model, batcher, [_x(1), _x(2, 3), _x(3), _x(4, 2)]))
    assert [answer[0].tolist() for answer in answers] == [[[2.0]], [[4.0]] * 3, [[6.0]], [[8.0]] * 2]
    assert model.sizes == [1, 5, 2]


def test_one_bad_request_fails_alone() -> None:
    model = Model()
    answers = asyncio.run(_while_busy(model, model.batcher(), [_x(1), _x(-1), _x(3)]))
    assert answers[0][0].tolist() == [[2.0]]
    assert isinstance(answers[1], MeasurementError)
    assert "negative" in str(answers[1])
    assert answers[2][0].tolist() == [[6.0]]


def test_a_model_of_fixed_size_runs_one_request_at_a_time() -> None:
    model = Model()
    asyncio.run(_while_busy(model, model.batcher(Spec("x", "FP32", (1, 1))), [_x(1), _x(2)]))
    assert model.sizes == [1, 1, 1]


def test_a_full_queue_refuses_at_once() -> None:
    model = Model()
    answers = asyncio.run(_while_busy(model, model.batcher(queued=2), [_x(1), _x(2), _x(3)]))
    assert [isinstance(answer, BusyError) for answer in answers] == [False, True, True]


def test_a_model_that_hangs_is_given_up_and_then_refused() -> None:
    model = Model()
    # The run begins some time after the request came: the model counts as hanging once the request was given up.
    batcher = model.batcher(patience=0.1, delay=0.08)

    async def ask() -> None:
        model.gate.clear()
        with pytest.raises(MeasurementError, match=r"no answer within 0\.1 s"):
            await batcher.run(_x(1))
        await asyncio.to_thread(model.began.wait, 20)
        assert batcher.stuck
        with pytest.raises(BusyError, match="does not answer"):
            await batcher.run(_x(1))
        model.gate.set()

    asyncio.run(ask())


def test_what_was_given_up_is_not_run_any_more() -> None:
    model = Model()
    batcher = model.batcher(rows=2, patience=0.1)

    async def ask() -> Any:
        model.gate.clear()
        first = asyncio.create_task(batcher.run(_x(1)))
        await asyncio.to_thread(model.began.wait, 20)
        late = await asyncio.gather(first, *(batcher.run(_x(1)) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(answer, MeasurementError) for answer in late)
        model.gate.set()
        while True:
            try:
                return await batcher.run(_x(4))
            except BusyError:
                await asyncio.sleep(0.01)

    assert asyncio.run(ask())[0].item() == 8
    assert model.sizes == [1, 1]


def test_what_waits_is_answered_before_the_thread_ends() -> None:
    model = Model()
    batcher = model.batcher(rows=1)

    async def ask() -> list[Any]:
        model.gate.clear()
        tasks = [asyncio.create_task(batcher.run(_x(k))) for k in range(3)]
        await asyncio.sleep(0.05)
        batcher.close()
        model.gate.set()
        return await asyncio.gather(*tasks)

    assert [answer[0].item() for answer in asyncio.run(ask())] == [0.0, 2.0, 4.0]
