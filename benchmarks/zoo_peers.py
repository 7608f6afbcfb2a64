"""Other quantizers on a road's baseline, each in a process of its own, as their guides call them.

    python -m benchmarks.zoo_peers NAME FLOAT CALIBRATION OUT

Olive has an environment of its own, in the folder that the variable `ZOO_OLIVE` names.

Reads the float model and the calibration split, one example at a time, and writes the file that the tool makes. States
that a model is fed back are zero.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weighbridge.data import read_npz

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 600
OLIVE = "olive-ai==0.13.0"
Feed = dict[str, NDArray[Any]]


class Reader:
    """Feeds for onnxruntime's calibration."""

    def __init__(self, given: Iterator[Feed]) -> None:
        self._given = given

    def get_next(self) -> Feed | None:
        """The next feed; None after the last."""
        return next(self._given, None)


def feeds(source: Path, calibration: Path) -> Iterator[Feed]:
    """Each example of the calibration split."""
    import onnxruntime

    ports = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"]).get_inputs()
    split = read_npz(calibration)
    for index in range(len(split)):
        yield {
            port.name: split.inputs[port.name][index][None]
            if port.name in split.inputs
            else np.zeros([side if isinstance(side, int) else 1 for side in port.shape], np.float32)
            for port in ports
        }


def dynamic(source: Path, _: Path, out: Path) -> None:
    """Dynamic quantization by onnxruntime, its defaults."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, out)


def static(source: Path, calibration: Path, out: Path) -> None:
    """Static quantization by onnxruntime: pre-processed, U8 activations, S8 weights by channel, its default ranges."""
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        reader = Reader(feeds(source, calibration))
        quantize_static(prepared, out, reader, per_channel=True, activation_type=QuantType.QUInt8)


def nncf(source: Path, calibration: Path, out: Path) -> None:
    """NNCF's post-training quantization of ONNX models, its defaults, bias correction among them."""
    import nncf as library
    import onnx

    given = list(feeds(source, calibration))
    onnx.save(library.quantize(onnx.load(source), library.Dataset(given), subset_size=len(given)), out)


def olive_static(source: Path, calibration: Path, out: Path) -> None:
    """Olive's pass of static quantization, its defaults."""
    _olive("OnnxStaticQuantization", source, calibration, out)


def olive_dynamic(source: Path, calibration: Path, out: Path) -> None:
    """Olive's pass of dynamic quantization, its defaults."""
    _olive("OnnxDynamicQuantization", source, calibration, out)


def _olive(name: str, source: Path, calibration: Path, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "feeds.npz"
        rows = enumerate(feeds(source, calibration))
        np.savez(given, **{f"{index} {port}": array for index, row in rows for port, array in row.items()})
        python = Path(os.environ["ZOO_OLIVE"]) / "bin" / "python"
        command = [python, ROOT / "benchmarks" / "zoo_olive.py", name, source, given, out]
        code = subprocess.call(command, env={**os.environ, "OLIVE_DISABLE_TELEMETRY": "1"})
    if code:
        sys.exit(code)  # what Olive said last is what is shown


def install_olive(folder: Path) -> None:
    """Make an environment with Olive if the folder has none; its requirements are pinned as Weighbridge's own are.

    Its telemetry imports requests, also where it is turned off, and it does not ask for it.
    """
    if (folder / "bin" / "python").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, OLIVE, "onnxruntime", "requests"], check=True, capture_output=True)


PEERS: dict[str, Callable[[Path, Path, Path], None]] = {
    "onnxruntime, dynamic": dynamic,
    "onnxruntime, static": static,
    "NNCF": nncf,
    "Olive, dynamic": olive_dynamic,
    "Olive, static": olive_static,
}


def made(name: str, source: Path, calibration: Path, out: Path) -> dict[str, Any]:
    """Seconds and peak bytes of a tool (at least those of this process), or what it said last where it failed."""
    command = [sys.executable, "-m", "benchmarks.zoo_peers", name, *map(str, (source, calibration, out))]
    # The variable with which NNCF's own CI turns its telemetry off.
    quiet = {**os.environ, "PYTHONPATH": str(ROOT), "NNCF_CI": "1", "ORT_DISABLE_TELEMETRY": "1"}
    begin = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(["timeout", str(TIMEOUT), *command], stdout=said, stderr=said, env=quiet, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if process.returncode or not out.is_file():
        return {"failed": (lines or ["said nothing"])[-1][:200], "exit": process.returncode}
    return {"seconds": round(time.perf_counter() - begin, 2), "peak": usage.ru_maxrss * 1024}


if __name__ == "__main__":
    PEERS[sys.argv[1]](*map(Path, sys.argv[2:]))
