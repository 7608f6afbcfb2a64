"""Servers beside the benchmark: ours, MLServer, a process that has the runtime alone; and their memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.registry.project import MODEL
from weighbridge.serve.observability.journal import Journal

PATH = f"/v2/models/{MODEL}/infer"
ROOT = Path(__file__).resolve().parents[2]

_MLSERVER = """
import numpy as np, onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
class Net(MLModel):
    async def load(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession("net.onnx", options, providers=["CPUExecutionProvider"])
        return True
    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        scores = self.session.run(None, {"image": rows})[0]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])
"""


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def ready(url: str, child: subprocess.Popen[bytes], patience: float = 300) -> None:
    """Wait until a server says that it is ready; one that ends or takes too long ends the benchmark."""
    until = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5):
                return
        except (OSError, urllib.error.URLError) as error:
            if child.poll() is not None or time.monotonic() > until:
                child.kill()
                raise SystemExit(f"{' '.join(map(str, child.args))} does not start: {error}") from error  # type: ignore[arg-type]
        time.sleep(0.05)


class Ours:
    """`weighbridge serve`, which may be killed and started again on the same port and folder."""

    def __init__(self, registry: Path, folder: Path, *options: str) -> None:
        self.port, self.folder = free_port(), folder
        where = ["--registry", str(registry), "--port", str(self.port), "--cache", str(folder), "--poll", "500ms"]
        self.command = [sys.executable, "-m", "weighbridge", "serve", MODEL, *where, *options]
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.child = subprocess.Popen(self.command, cwd=ROOT, stderr=log)
        ready(f"http://127.0.0.1:{self.port}", self.child)

    def kill(self) -> None:
        """With signal 9."""
        self.child.kill()
        self.child.wait()


def full_journal(folder: Path) -> None:
    """The journal of a server that has answered as many requests as it keeps."""
    folder.mkdir(parents=True)
    journal = Journal(folder / "journal.jsonl")
    for number in range(journal.keep):
        journal.answered(os.urandom(12).hex(), "v1", [str(number % 10)], [])
    journal.close()


@contextmanager
def ours(registry: Path, folder: Path, *options: str) -> Iterator[Ours]:
    """Our server, ended afterwards."""
    server = Ours(registry, folder, *options)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def bare_server(mode: str, busy: float = 0) -> Iterator[int]:
    """A server that only parses and answers, after so many busy seconds (`bare_server.py`); its port."""
    port = free_port()
    script = str(Path(__file__).with_name("bare_server.py"))
    child = subprocess.Popen([sys.executable, script, str(port), mode, str(busy)])
    try:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise SystemExit(f"bare_server.py does not start: {error}") from error
                time.sleep(0.05)
        yield port
    finally:
        child.kill()
        child.wait()


@contextmanager
def mlserver(python: Path, folder: Path, model: bytes, workers: int) -> Iterator[int]:
    """MLServer with the same model in the same runtime, one thread; its port."""
    folder.mkdir()
    port = free_port()
    (folder / "net.onnx").write_bytes(model)
    (folder / "net.py").write_text(_MLSERVER)
    (folder / "model-settings.json").write_text(json.dumps({"name": MODEL, "implementation": "net.Net"}))
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": workers, "debug": False}))
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    environment.pop("OMP_NUM_THREADS", None)
    command = [str(python.with_name("mlserver")), "start", "."]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        ready(f"http://127.0.0.1:{port}", child)
        yield port
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()


def installed(folder: Path, requirements: Sequence[str]) -> Path:
    """The interpreter of a virtual environment with these packages, made where it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *requirements], check=True)
    return python


def memory_of(process: int) -> float:
    """Megabytes that a process has in memory, shared pages by their share."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise SystemExit("no Pss in smaps_rollup")


def bare_memory(model: Path) -> float:
    """Megabytes of a Python process that has loaded and run the model and nothing else."""
    script = (
        "import sys, onnxruntime, numpy as np; o = onnxruntime.SessionOptions(); o.intra_op_num_threads = 1;"
        "s = onnxruntime.InferenceSession(sys.argv[1], o, providers=['CPUExecutionProvider']);"
        "i = s.get_inputs()[0]; x = np.zeros([1, *i.shape[1:]], np.float32);"
        "[s.run(None, {i.name: x}) for _ in range(5)]; print('ran', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(model)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    found = memory_of(child.pid)
    child.stdin.close()
    child.wait()
    return found
