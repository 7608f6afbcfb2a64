"""A process that makes rungs for a search: asked for a point and its epochs, it answers with what the file came to.

It sets up the same model, data and space as the search itself, and speaks frames on its standard input and output. What
it makes depends on the point and the epochs alone: never on what it made before, or on the process that made it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from weighbridge.compress.recipe.project_folder import Project
from weighbridge.core.errors import WeighbridgeError
from weighbridge.core.progress import silent
from weighbridge.gate.measure.frames import HEADER, pack, unpack_header
from weighbridge.gate.measure.process_limits import first_to_die
from weighbridge.search.problem.search_request import SearchRequest
from weighbridge.search.problem.three_splits import searched
from weighbridge.search.trials.trial import Workshop
from weighbridge.search.trials.workshop import FOLDER, space_for, workshop_for


def opened(asked: Mapping[str, Any]) -> Workshop:
    """The workshop of a search; nothing is timed in it, and no budget asked: rungs depend on neither."""
    root = Path(asked["root"])
    request = SearchRequest(root=root, target=asked["target"], timed=False)
    source = searched(root, request.target, root / FOLDER / "shared", silent, training=True)
    return workshop_for(request, source, space_for(source, training=True), Path(asked["folder"]), silent)[0]


def answer(workshop: Workshop, request: Mapping[str, Any]) -> dict[str, Any]:
    """One rung of one point. What the recipe itself gets wrong is an answer as well."""
    try:
        rung, sizes = workshop.made(workshop.space.point(request["values"]), int(request["epochs"]))
    except WeighbridgeError as error:
        return {"refused": {"kind": type(error).__name__, "what": error.what, "where": error.where, "fix": error.fix}}
    except OSError as error:
        return {"system": {"number": error.errno, "text": error.strerror, "path": error.filename}}
    return {"rung": asdict(rung), "sizes": sizes.model_dump()}


def serve(source: BinaryIO, sink: BinaryIO, respond: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Answer frames until the stream ends."""
    while header := source.read(HEADER.size):
        length, _ = unpack_header(header)
        sink.write(pack(respond(json.loads(source.read(length)))))
        sink.flush()


def main() -> None:
    """Keep the real standard output for frames; what training prints goes to standard error."""
    first_to_die()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = json.loads(sys.argv[1])
    with Project(Path(asked["root"])).as_declared():
        workshop = opened(asked)
        serve(sys.stdin.buffer, sink, lambda request: answer(workshop, request))


if __name__ == "__main__":
    main()
