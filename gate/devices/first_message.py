"""What a device is sent first, as text on the standard input of its Python: unpack the gate's modules, start the agent.

It makes one private folder and starts a process that removes it once the agent is gone, however it ended. Written for
any Python 3, so that one that is too old can say so.
"""

import json
import os
import shutil
import struct
import sys
import tempfile
import time
import types
from typing import BinaryIO

OLDEST = (3, 11)
PREFIX = "weighbridge-"
HEADER = struct.Struct("<4sIQ")


def begin(source: BinaryIO, sink: BinaryIO) -> None:
    """Read the order, unpack it, and hand the streams to the agent."""
    order = json.loads(source.read(int(source.read(10))).decode())
    if sys.version_info < OLDEST:
        found, oldest = (".".join(map(str, version)) for version in (sys.version_info[:3], OLDEST))
        return _refuse(sink, "its Python is {}; {} is the oldest that will do".format(found, oldest))
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=order["folder"])
    except OSError as error:
        return _refuse(sink, "cannot make a folder in {}: {}".format(order["folder"], error.strerror))
    _remove_after(folder)
    for name, text in order["modules"].items():
        path = os.path.join(folder, "code", *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    # Not by the path: a Weighbridge that is installed there, of another version, would be found first.
    package = types.ModuleType("weighbridge")
    package.__path__ = [os.path.join(folder, "code", "weighbridge")]
    sys.modules["weighbridge"] = package
    try:
        from weighbridge.gate.devices import agent
    except ImportError as error:
        return _refuse(sink, "its Python ({}) lacks what measuring needs: {}".format(sys.executable, error))
    return agent.main(folder, source, sink)


def _refuse(sink: BinaryIO, problem: str) -> None:
    text = json.dumps({"error": problem}).encode()
    sink.write(HEADER.pack(b"WBW1", len(text), 0) + text)
    sink.flush()


def _remove_after(folder: str) -> None:
    """Fork a process that waits for this one's end and then removes the folder."""
    waiting, held = os.pipe()  # not inherited by what is started later: `held` closes with this process
    if os.fork():
        os.close(waiting)
        return
    os.setsid()  # what hangs up the agent must not end its cleaner
    os.close(held)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # the connection ends when nobody holds its streams
        os.dup2(null, stream)
    os.read(waiting, 1)
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            break
        time.sleep(0.1)  # a worker is still dying
    os._exit(0)


if __name__ == "__main__":
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints goes to standard error, never between the frames
    begin(sys.stdin.buffer, stream)
