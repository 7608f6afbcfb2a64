"""What a worker does for each request: load, feed, time, answer."""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.util
import itertools
import os
import resource
import sys
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from weighbridge.gate.measure.frames import Array, pack_arrays, unpack_arrays
from weighbridge.gate.measure.process_limits import peak_memory, run_delay
from weighbridge.gate.measure.worker_inputs import Feed, as_array, by_example, feeds, one_token, whole_answers

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class ArtifactFault(Exception):  # noqa: N818  # an answer, not a defect
    """The artifact did something that its measurement cannot survive."""


class Operations:
    """What one process holds: a runtime, a model, its inputs, and code around it where that is timed too."""

    def __init__(self) -> None:
        self.runtime: Any = None
        self.model: Any = None
        self.feeds: list[dict[str, Array]] = []
        self.fed: Feed = {}
        self.shapes: dict[Shapes, Shapes] = {}
        self.preprocess: Callable[[Any], Feed] | None = None
        self.postprocess: Callable[[list[Array]], Any] | None = None
        self.raw: list[Any] = []
        self.order: list[str] = []
        self.carried: Mapping[str, int] = {}
        self.steps: Mapping[str, tuple[str, int]] = {}
        self.state: Feed = {}
        self.loaded_ns = 0

    def start(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        """Import the runtime; answers with its version and the memory of an empty runtime."""
        self.runtime = _import_file(request["adapter"])
        return {"version": self.runtime.version(), "memory": peak_memory()}

    def load(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        """Pin the process, verify the artifact's bytes, then load it; `load_ns` is the time of loading alone.

        `inputs` gives the order in which a runtime that knows no names takes its inputs.
        """
        self.order = list(request.get("inputs", []))
        if request["cores"]:
            os.sched_setaffinity(0, request["cores"])
        libraries = request.get("libraries", [])
        for path, expected in (*request["files"], *libraries):
            found = file_digest(path)
            if found != expected:
                raise ArtifactFault(f"the file changed before it was loaded: {found} instead of {expected}")
        self.model = None  # before the next one takes memory
        begin = time.perf_counter_ns()
        more = {"libraries": [path for path, _ in libraries]} if libraries else {}
        self.model = self.runtime.load(request["files"][0][0], threads=request["threads"], **more)
        self.loaded_ns = time.perf_counter_ns() - begin
        self.shapes, self.state = {}, {}
        return {"load_ns": self.loaded_ns}

    def inputs(self, request: dict[str, Any], payload: bytes) -> dict[str, Any]:
        """Cut arrays (n, …) into `most` feeds of single inferences: `batch` examples, or one where `single` says so."""
        arrays = self.ordered(unpack_arrays(request["arrays"], payload))
        how = request.get("how", {})
        self.feeds = list(
            itertools.islice(feeds(arrays, request["batch"], request["single"], how), request.get("most"))
        )
        self.carried, self.steps, self.state = how.get("carry", {}), how.get("step", {}), {}
        if not self.feeds:
            raise ArtifactFault("not enough inputs for one batch")
        return {"feeds": len(self.feeds)}

    def code(self, request: dict[str, Any], payload: bytes) -> dict[str, Any]:
        """Import the user's data factory for end-to-end latency; only then is a user's code loaded here.

        Where `preprocess` names a function of the factory's module, that is taken and the raw examples are the
        payload's: a device need not have the data set that the factory would load.
        """
        sys.path.insert(0, request["folder"])
        name, _, factory = request["factory"].partition(":")
        module = importlib.import_module(name)
        if request.get("preprocess"):
            self.preprocess = getattr(module, request["preprocess"])
            self.postprocess = getattr(module, request["postprocess"]) if request["postprocess"] else None
            self.raw = list(unpack_arrays(request["arrays"], payload)["raw"])
            return {"examples": len(self.raw)}
        data = getattr(module, factory)()
        if data.preprocess is None or data.raw is None:
            raise ArtifactFault(f"{request['factory']} has no preprocess and raw examples")
        self.preprocess, self.postprocess = data.preprocess, data.postprocess
        self.raw = list(itertools.islice(data.raw, request["examples"]))
        return {"examples": len(self.raw)}

    def warm(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        """The first inference, then at least `inferences` more and at least `seconds` of them.

        While later ones are faster than earlier ones it goes on, for twice as long each time up to `settling_seconds`.
        A slow model warms up for `most_seconds` and four inferences at least: its caches are warm after one.
        """
        begin = time.perf_counter_ns()
        outputs = self.step(0)
        first = time.perf_counter_ns() - begin
        self.check(outputs)
        act = self.acting(request)
        begin = time.perf_counter_ns()
        times = array("q", self.time(3, 0, act).tolist())  # small: it counts in the peak that is measured
        least, most = int(request["seconds"] * 1e9), int(request["most_seconds"] * 1e9)
        settling = int(request.get("settling_seconds", request["seconds"]) * 1e9)
        while (spent := time.perf_counter_ns() - begin) < most:
            if spent >= least and len(times) >= request["inferences"]:
                if spent >= settling or settled(times):
                    break
                least = min(2 * spent, settling)
            times.extend(self.time(3, len(times), act).tolist())
        return {"first_ns": first, "typical_ns": int(np.median(times[-3:])), "memory": peak_memory()}

    def burst(self, request: dict[str, Any], _: bytes) -> tuple[dict[str, Any], bytes]:
        """`count` inferences, each timed, starting at feed `offset`; the payload is int64 nanoseconds.

        `switches` counts how often the process lost its core, `waited_ns` how long it waited for one; None where the
        kernel does not say.
        """
        act = self.acting(request)
        waited = run_delay()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        times = self.time(request["count"], request["offset"], act)
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
        since = run_delay()
        waiting = since - waited if since is not None and waited is not None else None
        return {"switches": switches, "waited_ns": waiting}, times.tobytes()

    def evaluate(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Outputs of all examples of a payload, joined over batches; `padding` of the last ones are cut off."""
        arrays = self.ordered(unpack_arrays(request["arrays"], payload))
        parts: list[list[Array]] = []
        how, resets = request.get("how", {}), request.get("resets", [])
        self.carried = how.get("carry", {})
        for number, feed in enumerate(feeds(arrays, request["batch"], request["single"], how)):
            if number < len(resets) and resets[number]:
                self.state = {}
            self.fed = {**feed, **self.state}
            outputs = self.model.run(self.fed)
            self.check(outputs, values=False)
            self.keep_state(outputs)
            answers = by_example(outputs, how.get("output_axes", {}))
            parts.append(whole_answers(answers, how.get("rows", {}), feed, request["outputs"]))
        count = len(parts) * request["batch"] - request["padding"]
        joined = {}
        for index in request["outputs"]:
            if any(part[index].ndim == 0 or len(part[index]) != request["batch"] for part in parts):
                shape = next(part[index].shape for part in parts)
                raise ArtifactFault(
                    f"output {index} of shape {shape} has not one row per example of a batch of {request['batch']}"
                )
            joined[str(index)] = np.concatenate([part[index] for part in parts])[:count]
        described, body = pack_arrays(joined)
        return {"arrays": described}, body

    def status(self, _: dict[str, Any], __: bytes) -> dict[str, Any]:
        """What this process has imported and how much memory it took at most."""
        return {"memory": peak_memory(), "modules": sorted(sys.modules)}

    def ordered(self, feed: Feed) -> Feed:
        """A feed in the order of the model's inputs, where that is known."""
        return {name: feed[name] for name in self.order} if self.order else feed

    def acting(self, request: dict[str, Any]) -> Callable[[int], list[Array]]:
        """What a request times: inferences, the user's code around them, or the first or the next token of a text."""
        if request.get("journey"):
            return self.journey
        if request.get("token") == "next":
            self.prompt(request.get("offset", 0))
            return self.token
        return self.prefill if request.get("token") == "first" else self.step

    def prompt(self, index: int) -> None:
        """Read one prompt, untimed; what is fed from then on is one token with the cache that the prompt left."""
        self.fed = self.feeds[index % len(self.feeds)]
        outputs = self.model.run(self.fed)
        self.check(outputs)
        tokens = {name: one_token(self.fed[name], *said) for name, said in self.steps.items()}
        caches = {name: np.asarray(outputs[place]) for name, place in self.carried.items()}
        self.fed = {**self.fed, **tokens, **caches}

    def token(self, _: int) -> list[Array]:
        """One token after the prompt that was read last."""
        return self.model.run(self.fed)  # type: ignore[no-any-return]

    def prefill(self, index: int) -> list[Array]:
        """A whole prompt, with the cache that a text begins with."""
        self.state = {}
        return self.step(index)

    def step(self, index: int) -> list[Array]:
        """One inference."""
        self.fed = self.feeds[index % len(self.feeds)]
        if self.state:
            self.fed = {**self.fed, **self.state}
        return self.model.run(self.fed)  # type: ignore[no-any-return]

    def journey(self, index: int) -> list[Array]:
        """One raw example to its answer: preprocess, inference, postprocess."""
        assert self.preprocess is not None
        self.fed = self.ordered(self.preprocess(self.raw[index % len(self.raw)]))
        outputs: list[Array] = self.model.run(self.fed)
        if self.postprocess is not None:
            self.postprocess(outputs)
        return outputs

    def time(self, count: int, offset: int, act: Callable[[int], list[Array]]) -> Array:
        """Nanoseconds of each of `count` calls (int64). The garbage collector rests; outputs are checked after."""
        times = np.zeros(count, np.int64)
        clock = time.perf_counter_ns
        gc.disable()
        try:
            for index in range(count):
                begin = clock()
                outputs = act(offset + index)
                times[index] = clock() - begin
                self.keep_state(outputs, grows=False)
        finally:
            gc.enable()
        self.check(outputs)
        return times

    def keep_state(self, outputs: list[Array], *, grows: bool = True) -> None:
        """What the next inference of a stream gets back, input by input.

        Without `grows`, one that became larger is dropped: a cache would grow for as long as is timed.
        """
        state = {name: np.asarray(outputs[index]) for name, index in self.carried.items()}
        same = grows or all(array.shape == self.fed[name].shape for name, array in state.items())
        self.state = state if same else {}

    def check(self, outputs: list[Array], *, values: bool = True) -> None:
        """Inputs of one shape give outputs of one type and shape, always; a NaN or an infinity is a refusal."""
        arrays = [as_array(output) for output in outputs]
        # Text is as wide as its longest word, which is no change of type.
        found = tuple(("text" if array.dtype.kind == "U" else array.dtype.str, array.shape) for array in arrays)
        fed = tuple((name, array.shape) for name, array in self.fed.items())
        if self.shapes.setdefault(fed, found) != found:
            raise ArtifactFault(f"outputs changed between calls: {self.shapes[fed]}, then {found}")
        if values and not all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
            raise ArtifactFault("an output contains NaN or infinite values")


def settled(times: Sequence[int]) -> bool:
    """Whether the later half of durations is as fast as the earlier one, within 2 % of their lower quartiles.

    The fastest quarter, because other work on the machine slows down some inferences and hastens none.
    """
    earlier, later = (np.quantile(half, 0.25) for half in np.array_split(np.asarray(times), 2))
    return bool(later >= 0.98 * earlier)


def file_digest(path: str) -> str:
    """Digest of a file's bytes, as `sha256:<64 hex digits>`."""
    with open(path, "rb") as file:  # noqa: PTH123  # as the runtimes get it: a string
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _import_file(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("runtime_adapter", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
