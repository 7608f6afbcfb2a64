"""First and next tokens of files with a cache, timed beside whole inferences."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.gate.models import artifact, save
from weighbridge.core.documents import InputSection
from weighbridge.core.errors import InputError
from weighbridge.core.formats.onnx_file import load_model, signature
from weighbridge.data import Split
from weighbridge.gate.measure.feeding import feeding
from weighbridge.gate.measure.launches import Cores, Launch, LaunchProtocol, Setup, take_launch
from weighbridge.gate.measure.operations import Operations
from weighbridge.gate.measure.streams import no_steps, prompt_tokens
from weighbridge.gate.measure.worker_inputs import one_token

FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
WORDS, WIDTH, PROMPT = 11, 4, 24
QUICK = LaunchProtocol(warm_seconds=0.0, rounds=8, fewest_rounds=5, launch_seconds=0.1, timeout=20)
CACHED = {"past": {"carry": "present"}}


def language(path: Path, *, tokens: int | str = "t", extra: int = 0) -> Path:
    """`tokens` (n, t), `past` (n, s, 4) → `logits` (n, t, 11) of the mean of all that was read, `present` (n, s+t, 4).

    `extra` matrix products make it slower by the token.
    """
    rng = np.random.default_rng(0)
    names = ["read", *(f"more{index}" for index in range(extra))]
    nodes = [
        helper.make_node("Gather", ["words", "tokens"], ["read"]),
        *(helper.make_node("MatMul", [old, "square"], [new]) for old, new in itertools.pairwise(names)),
        helper.make_node("Concat", ["past", names[-1]], ["present"], axis=1),
        helper.make_node("ReduceMean", ["present", "one"], ["mean"]),
        helper.make_node("Add", [names[-1], "mean"], ["both"]),
        helper.make_node("MatMul", ["both", "out"], ["logits"]),
    ]
    info = helper.make_tensor_value_info
    stored = {
        "words": rng.standard_normal((WORDS, WIDTH)).astype(np.float32),
        "square": (0.5 * np.eye(WIDTH)).astype(np.float32),
        "out": rng.standard_normal((WIDTH, WORDS)).astype(np.float32),
        "one": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "g",
        [info("tokens", INT, ["n", tokens]), info("past", FLOAT, ["n", "s", WIDTH])],
        [info("logits", FLOAT, ["n", tokens, WORDS]), info("present", FLOAT, ["n", "all", WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    return save(path, graph, opset=18)


def texts(count: int = 8) -> Split:
    """Each its own text, with the empty cache that it begins with."""
    ids = np.random.default_rng(1).integers(0, WORDS, (count, PROMPT))
    return Split(
        {"tokens": ids, "past": np.zeros((count, 0, WIDTH), np.float32)}, np.roll(ids, -1, 1), groups=np.arange(count)
    )


def told(**declared: dict[str, str | bool]) -> dict[str, Any]:
    return {name: InputSection.model_validate(value) for name, value in declared.items()}


def launched(tmp_path: Path, metrics: set[str], extra: int = 0) -> Launch:
    """One launch of a baseline and a candidate with `extra` products."""
    paths = [language(tmp_path / "a.onnx"), language(tmp_path / "b.onnx", extra=extra)]
    feed = feeding(signature(load_model(paths[0])), texts(), "data", told(**CACHED))
    roles = {name: artifact(path, name) for name, path in zip(("baseline", "candidate"), paths, strict=True)}
    allowed = os.sched_getaffinity(0)
    cores = Cores((max(allowed),), tuple(allowed))
    ready = Setup(roles, texts().inputs, feed.single, QUICK, cores, how=feed.how)
    try:
        return take_launch(ready, frozenset(metrics), np.random.default_rng(0), control=True)
    finally:
        os.sched_setaffinity(0, allowed)


def test_tokens_are_timed_as_interleaved_as_whole_examples(tmp_path: Path) -> None:
    """First and next token and their rate come from bursts of both models, with a second baseline beside them."""
    names = {"latency.first_token", "latency.next_token", "tokens_per_second"}
    launch = launched(tmp_path, names, extra=400)
    assert names | {"latency.p50"} <= launch.values.keys()
    pair = ("candidate", "baseline")
    assert launch.log_ratios["latency.next_token"][pair] > 0.5
    assert launch.log_ratios["tokens_per_second"][pair] < -0.5
    assert ("control", "baseline") in launch.log_ratios["latency.next_token"]
    rate, median = (launch.values[name]["candidate"] for name in ("tokens_per_second", "latency.next_token"))
    # Half of all steps take the median or longer, however busy the machine is.
    assert 0 < rate <= 2 / median


def test_what_was_not_asked_for_is_not_timed(tmp_path: Path) -> None:
    """A budget on the first token alone needs no steps."""
    launch = launched(tmp_path, {"latency.first_token"})
    assert "latency.first_token" in launch.values
    assert "latency.next_token" not in launch.values


class Listening:
    """A model that records what it is fed: `present` is `past` and as many rows as tokens."""

    def __init__(self) -> None:
        self.fed = []

    def run(self, feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.fed.append({name: array.copy() for name, array in feed.items()})
        count = feed["tokens"].shape[1]
        grown = np.concatenate([feed["past"], np.ones((1, count, WIDTH), np.float32)], axis=1)
        return [np.ones((1, count, WORDS), np.float32), grown]


def test_a_step_gets_one_token_and_the_prompts_cache() -> None:
    """The prompt is read untimed; masks grow by one entry, and positions count on."""
    worker = Operations()
    worker.model = Listening()
    row = np.arange(PROMPT)[None]
    worker.feeds = [
        {"tokens": row, "mask": np.ones_like(row), "places": row, "past": np.zeros((1, 0, WIDTH), np.float32)}
    ]
    worker.carried = {"past": 1}
    worker.steps = {"tokens": ("last", 1), "mask": ("grow", 1), "places": ("count", 1)}
    act = worker.acting({"token": "next", "offset": 3})
    worker.time(2, 3, act)
    prompt, *steps = worker.model.fed
    assert prompt["tokens"].shape == (1, PROMPT)
    assert len(steps) == 2
    for step in steps:
        assert step["tokens"].tolist() == [[PROMPT - 1]]
        assert step["places"].tolist() == [[PROMPT]]
        assert step["mask"].shape == (1, PROMPT + 1)
        assert step["past"].shape == (1, PROMPT, WIDTH)


def test_a_cache_does_not_grow_while_inferences_are_timed() -> None:
    """Whole examples begin with their own cache each time; a state of one size is fed back."""
    worker = Operations()
    worker.model = Listening()
    worker.feeds = [{"tokens": np.zeros((1, 3), np.int64), "past": np.zeros((1, 0, WIDTH), np.float32)}]
    worker.carried = {"past": 1}
    worker.time(4, 0, worker.step)
    assert {fed["past"].shape for fed in worker.model.fed} == {(1, 0, WIDTH)}


@pytest.mark.parametrize(("mode", "expected"), [("last", [[7]]), ("grow", [[5, 7, 7]]), ("count", [[8]])])
def test_a_step_of_a_prompts_array(mode: str, expected: list[list[int]]) -> None:
    """Its last entry, one entry more, or the number after its last."""
    assert one_token(np.array([[5, 7]]), mode, 1).tolist() == expected


def test_models_without_a_step_say_so(tmp_path: Path) -> None:
    """No cache, or a number of tokens that is fixed: the reason names what it is."""
    open_one = signature(load_model(language(tmp_path / "a.onnx")))
    fixed = signature(load_model(language(tmp_path / "b.onnx", tokens=PROMPT)))
    assert no_steps(open_one, told(**CACHED)) is None
    assert "no input carries a cache" in no_steps(open_one, {})
    assert "'tokens' (n, 24) takes 24 tokens and no other number" in no_steps(fixed, told(**CACHED))
    assert prompt_tokens(texts(), open_one, told(**CACHED)) == PROMPT


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"carry": "present", "step": "last"}, "'step' is for what is neither constant nor carried"),
        ({"free_axes": [0]}, "axis 0 counts examples"),
        ({}, "expected one of"),
    ],
)
def test_contradictions_are_refused(section: dict[str, str | list[int]], said: str) -> None:
    """What cannot be meant is one line."""
    with pytest.raises((InputError, ValueError), match=said):
        InputSection.model_validate(section)
