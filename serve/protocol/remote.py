"""The Open Inference Protocol v2 over gRPC: health, metadata, infer, on the loop that serves HTTP.

Answers carry raw tensors. Errors are the service's, as gRPC's status codes; what is over the limit on a message's size
gRPC refuses before it is read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from weighbridge import __version__
from weighbridge.core.errors import InputError, MeasurementError, StateError, WeighbridgeError
from weighbridge.serve.answers import AbsentError, Answer
from weighbridge.serve.observability.traces import PARENT
from weighbridge.serve.protocol.application import metadata
from weighbridge.serve.protocol.messages import CLASSES, SERVICE
from weighbridge.serve.service import Service
from weighbridge.serve.tensors import NAMES, Limits, Request, Spec, checked_id, read_tensors

_CODES: dict[type[WeighbridgeError], grpc.StatusCode] = {
    AbsentError: grpc.StatusCode.NOT_FOUND,
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    StateError: grpc.StatusCode.UNAVAILABLE,
    MeasurementError: grpc.StatusCode.INTERNAL,
}
"""What each kind of error is over gRPC; the first that fits."""
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""Which field has the values of a tensor that is not raw; FP16 is raw only."""
_ROOM = 64 * 1024
"""Bytes of a message beside its tensors."""


def code_of(error: WeighbridgeError) -> grpc.StatusCode:
    """The status code that says what happened."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


@dataclass(frozen=True)
class Remote:
    """The protocol's methods; each takes and gives one message."""

    service: Service
    key_header: str = "x-request-key"

    def server(self, address: str, largest: int, calls: int) -> tuple[Any, int]:
        """A server that listens on an address, not started, and its port; calls beyond `calls` at once are refused.
        An address that is taken is a `StateError`.
        """
        options = [("grpc.max_receive_message_length", largest + _ROOM), ("grpc.so_reuseport", 0)]
        made = grpc.aio.server(options=options, maximum_concurrent_rpcs=calls)
        methods = {
            "ServerLive": self._live, "ServerReady": self._ready, "ModelReady": self._model_ready,
            "ServerMetadata": self._server, "ModelMetadata": self._metadata, "ModelInfer": self._infer,
        }  # fmt: skip
        handlers = {name: _handler(name, method) for name, method in methods.items()}
        made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            return made, made.add_insecure_port(address)
        except RuntimeError as error:
            raise StateError(f"cannot listen on {address}") from error

    async def _live(self, _: Any, __: Any) -> Any:
        return CLASSES["ServerLiveResponse"](live=True)

    async def _ready(self, _: Any, __: Any) -> Any:
        return CLASSES["ServerReadyResponse"](ready=self.service.ready)

    async def _model_ready(self, asked: Any, _: Any) -> Any:
        serving = self.service.named(asked.name, asked.version or None)
        return CLASSES["ModelReadyResponse"](ready=self.service.ready and not serving.batcher.stuck)

    async def _server(self, _: Any, __: Any) -> Any:
        return CLASSES["ServerMetadataResponse"](name="weighbridge", version=__version__)

    async def _metadata(self, asked: Any, _: Any) -> Any:
        return CLASSES["ModelMetadataResponse"](**metadata(self.service, asked.name, asked.version or None))

    async def _infer(self, asked: Any, context: Any) -> Any:
        known = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        key = known.get(self.key_header.lower(), "")[:512] or None
        answer = await self.service.infer(
            asked.model_name,
            asked.model_version or None,
            key,
            lambda inputs, limits: _decode(asked, inputs, limits),
            known.get(PARENT),
        )
        return _encode(asked.model_name, answer)


def _handler(name: str, method: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    async def handle(asked: Any, context: Any) -> Any:
        try:
            return await method(asked, context)
        except WeighbridgeError as error:
            await context.abort(code_of(error), str(error))

    return grpc.unary_unary_rpc_method_handler(
        handle, CLASSES[f"{name}Request"].FromString, CLASSES[f"{name}Response"].SerializeToString
    )


def _decode(asked: Any, inputs: Sequence[Spec], limits: Limits) -> Request:
    """As `tensors.decode`, of the same checks."""
    raw, tensors = list(asked.raw_input_contents), []
    if raw and len(raw) != len(asked.inputs):
        raise InputError(f"has {len(raw)} tensors; there are {len(asked.inputs)} inputs", where="raw_input_contents")
    for number, tensor in enumerate(asked.inputs):
        item: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if raw:
            item["parameters"] = {"binary_data_size": len(raw[number])}
        if not raw or tensor.HasField("contents"):
            field = _CONTENTS.get(tensor.datatype)
            item["data"] = list(getattr(tensor.contents, field)) if field else []
        tensors.append(item)
    feed = read_tensors(tensors, inputs, limits, b"".join(raw))
    wanted = tuple(output.name for output in asked.outputs)
    if len(set(wanted)) != len(wanted):
        raise InputError("names an output twice", where="outputs")
    return Request(checked_id(asked.id), feed, None, wanted, {})


def _encode(model: str, answer: Answer) -> Any:
    outputs = [
        CLASSES["InferTensor"](name=name, datatype=NAMES[array.dtype], shape=array.shape)
        for name, array in answer.outputs.items()
    ]
    raw = [array.tobytes() for array in answer.outputs.values()]
    return CLASSES["ModelInferResponse"](
        model_name=model, model_version=answer.version, id=answer.id, outputs=outputs, raw_output_contents=raw
    )
