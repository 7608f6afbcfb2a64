"""The small process that loads one artifact and times it.

It imports the standard library, numpy, its own few modules and one runtime, nothing else of Weighbridge: what it
measures is the artifact, and it starts fast. It speaks frames on its standard input and output. What a runtime or a
user's code prints goes to standard error, never between the frames.

Operations (`op`): `start`, `load`, `inputs`, `code`, `warm`, `burst`, `evaluate`, `status`. A request that cannot
be served gets `{"error": ...}`; the process that asked decides what that means.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from weighbridge.gate.measure.frames import HEADER, pack, unpack_header
from weighbridge.gate.measure.operations import ArtifactFault, Operations
from weighbridge.gate.measure.process_limits import first_to_die, limit_resources


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer frames until the stream ends."""
    worker = Operations()
    operations: dict[str, Callable[[dict[str, Any], bytes], Any]] = {
        "start": worker.start,
        "load": worker.load,
        "inputs": worker.inputs,
        "code": worker.code,
        "warm": worker.warm,
        "burst": worker.burst,
        "evaluate": worker.evaluate,
        "status": worker.status,
    }
    while header := source.read(HEADER.size):
        length, size = unpack_header(header)
        request = json.loads(source.read(length))
        payload = source.read(size)
        try:
            answer = operations[request["op"]](request, payload)
        except Exception as error:  # noqa: BLE001  # the rim of this process: a runtime or a user's code raises anything
            sink.write(pack({"error": _describe(error)}))
        else:
            sink.write(pack(*answer) if isinstance(answer, tuple) else pack(answer))
        sink.flush()


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())[:600]
    if isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate memory" in text:
        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        return f"ran out of memory: {limit} bytes are the most that a worker gets ({type(error).__name__}: {text})"
    return text if isinstance(error, ArtifactFault) else f"{type(error).__name__}: {text}"


def main() -> None:
    """Keep the real standard output for frames; everything else that prints goes to standard error."""
    first_to_die()
    limit_resources()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()
