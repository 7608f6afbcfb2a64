"""The Open Inference Protocol's gRPC messages, from one table.

Source: KServe, Open Inference Protocol v2, `open_inference_grpc.proto`. A field's place in the table is its number.
Neither names of messages nor those of fields travel; a test holds the table against a published client's messages.
They live in a pool of their own: two definitions of one name in protobuf's default pool fail, and clients bring one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"

MESSAGES: Mapping[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live:bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready:bool",
    "ModelReadyRequest": "name:string version:string",
    "ModelReadyResponse": "ready:bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name:string version:string extensions:string*",
    "ModelMetadataRequest": "name:string version:string",
    "TensorMetadata": "name:string datatype:string shape:int64*",
    "ModelMetadataResponse": (
        "name:string versions:string* platform:string inputs:TensorMetadata* outputs:TensorMetadata*"
    ),
    "InferParameter": "bool_param:bool int64_param:int64 string_param:string double_param:double uint64_param:uint64",
    "InferTensorContents": (
        "bool_contents:bool* int_contents:int32* int64_contents:int64* uint_contents:uint32* uint64_contents:uint64* "
        "fp32_contents:float* fp64_contents:double* bytes_contents:bytes*"
    ),
    "ParametersEntry": "key:string value:InferParameter",
    "InferTensor": (
        "name:string datatype:string shape:int64* parameters:ParametersEntry* contents:InferTensorContents"
    ),
    "InferRequestedOutputTensor": "name:string parameters:ParametersEntry*",
    "ModelInferRequest": (
        "model_name:string model_version:string id:string parameters:ParametersEntry* inputs:InferTensor* "
        "outputs:InferRequestedOutputTensor* raw_input_contents:bytes*"
    ),
    "ModelInferResponse": (
        "model_name:string model_version:string id:string parameters:ParametersEntry* outputs:InferTensor* "
        "raw_output_contents:bytes*"
    ),
}
"""Message → its fields, `name:type`, with a star where there may be several."""


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="weighbridge/inference.proto", package="inference", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, text in enumerate(fields.split(), 1):
            field, _, kind = text.removesuffix("*").partition(":")
            label = kinds.LABEL_REPEATED if text.endswith("*") else kinds.LABEL_OPTIONAL
            made = message.field.add(name=field, number=number, label=label)
            if kind in MESSAGES:
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".inference.{kind}"
            else:
                made.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    return file


def _classes() -> Mapping[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_described())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in MESSAGES}


CLASSES: Mapping[str, Any] = _classes()
"""Name → protobuf class."""
