"""Tiny models, and what tests do to a server."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.registry import project as made
from weighbridge.registry.lifecycle.operate import Operator
from weighbridge.serve.following import Follower
from weighbridge.serve.protocol.application import Application
from weighbridge.serve.server import Server

MODEL = made.MODEL


def model(generation: int = 1, inputs: int = 4) -> bytes:
    """Scores of 3 classes from 4 numbers; the class of one-hot input k is (k + generation) % 3."""
    weights = np.zeros((inputs, 3), np.float32)
    for row in range(inputs):
        weights[row, (row + generation) % 3] = 1
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made_model.SerializeToString()


def one_hot(k: int = 0) -> list[float]:
    """An input whose class is known."""
    return [1.0 if i == k else 0.0 for i in range(4)]


def body(rows: list[list[float]] | None = None, **more: str | list[dict[str, str]]) -> dict[str, Any]:
    """A request as JSON values."""
    rows = [one_hot()] if rows is None else rows
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), 4], "datatype": "FP32", "data": data}], **more}


def operator(root: Path) -> Operator:
    """Moves channels."""
    return Operator(root, MODEL)


def server(registry: Path, folder: Path, **settings: object) -> Server:
    """A server of the registry, not started."""
    return Server(Follower(str(registry), MODEL, folder), **settings)


class Client:
    """Speaks to an application without a socket."""

    server: Server

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(
        self,
        method: str,
        path: str,
        data: bytes | dict[str, Any] = b"",
        headers: Any = (),
        chunks: Iterable[bytes] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body) of one request."""
        return asyncio.run(self.asked(method, path, data, headers, chunks))

    async def asked(
        self,
        method: str,
        path: str,
        data: bytes | dict[str, Any] = b"",
        headers: Any = (),
        chunks: Iterable[bytes] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        data = json.dumps(data).encode() if isinstance(data, dict) else data
        parts = [data] if chunks is None else list(chunks)
        sent = []
        raw = [(name.lower().encode(), value.encode()) for name, value in dict(headers).items()]
        if chunks is None and data and not any(name == b"content-length" for name, _ in raw):
            raw.append((b"content-length", str(len(data)).encode()))

        async def receive() -> dict[str, Any]:
            if not parts:
                await asyncio.sleep(3600)
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": raw,
            "query_string": b"",
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
        }
        await self.application(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])

    def infer(
        self, data: bytes | dict[str, Any] | None = None, headers: Any = (), path: str = f"/v2/models/{MODEL}/infer"
    ) -> tuple[int, Any]:
        """(status, answer) of one inference in JSON."""
        status, _, answer = self("POST", path, body() if data is None else data, headers)
        return status, json.loads(answer)

    def metrics(self) -> dict[str, Any]:
        """Counter with labels → value, of this model."""
        text = self("GET", "/metrics")[2].decode()
        rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {
            name.replace(f'model="{MODEL}",', "").replace(f'{{model="{MODEL}"}}', ""): float(value)
            for name, value in rows
        }
