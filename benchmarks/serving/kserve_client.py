"""KServe's published clients against a server: `python kserve_client.py MODEL HTTP_PORT GRPC_PORT`, in an environment
of their own. Prints what each check found as JSON. The model has 4 numbers as `image`, and its class 1 always wins.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ROWS = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def request(model: str, *, binary: bool, rows: Any = ROWS) -> InferRequest:
    """An inference of two examples."""
    tensor = InferInput("image", list(rows.shape), "FP32")
    tensor.set_data_from_numpy(rows, binary_data=binary)
    wanted = [RequestedOutput("scores", parameters={"binary_data": binary})]
    return InferRequest(model, [tensor], request_id="one", request_outputs=wanted)


def is_right(answer: Any) -> bool:
    """Whether an answer has its id, and the class that must win."""
    scores = answer.outputs[0].as_numpy()
    return answer.id == "one" and scores.shape == (2, 10) and scores.argmax(axis=1).tolist() == [1, 1]


async def refused(asking: Awaitable[Any]) -> bool:
    """Whether a wrong shape is an error for the client."""
    try:
        await asking
    except Exception as error:  # noqa: BLE001  # each client has errors of its own; which says what was wrong
        return "image" in str(error) or "400" in str(error)
    return False


async def checked(model: str, http: int, grpc: int) -> dict[str, bool]:
    """Name of a check → whether the client got what it should."""
    url = f"http://127.0.0.1:{http}"
    rest, remote = InferenceRESTClient(RESTConfig(protocol="v2")), InferenceGRPCClient(f"127.0.0.1:{grpc}")
    wide = request(model, binary=True, rows=np.zeros((1, 5), np.float32))

    async def right(asking: Awaitable[Any]) -> bool:
        return is_right(await asking)

    checks: dict[str, Callable[[], Awaitable[bool]]] = {
        "REST: server live": lambda: rest.is_server_live(url),
        "REST: server ready": lambda: rest.is_server_ready(url),
        "REST: model ready": lambda: rest.is_model_ready(url, model),
        "REST: infer, JSON": lambda: right(rest.infer(url, request(model, binary=False), model)),
        "REST: infer, binary": lambda: right(rest.infer(url, request(model, binary=True), model)),
        "REST: wrong shape is refused": lambda: refused(rest.infer(url, wide, model)),
        "gRPC: server live": remote.is_server_live,
        "gRPC: server ready": remote.is_server_ready,
        "gRPC: model ready": lambda: remote.is_model_ready(model),
        "gRPC: infer, contents": lambda: right(remote.infer(request(model, binary=False))),
        "gRPC: infer, raw": lambda: right(remote.infer(request(model, binary=True))),
        "gRPC: wrong shape is refused": lambda: refused(remote.infer(wide)),
    }
    found = {}
    for name, check in checks.items():
        try:
            found[name] = bool(await check())
        except Exception as error:  # noqa: BLE001  # as above; a check that fails is a figure
            print(f"{name}: {type(error).__name__}: {error}"[:400], file=sys.stderr)
            found[name] = False
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(checked(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
