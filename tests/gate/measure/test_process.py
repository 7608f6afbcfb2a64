import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gate.models import HONEST, adapter, artifact, examples, linear
from weighbridge.core.errors import ExitCode, MeasurementError
from weighbridge.gate.measure import frames
from weighbridge.gate.measure.evaluation import answers_of
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.process import Worker, open_artifact, send_arrays


def burst(tmp_path: Path, run: str, *, load: str = "pass", timeout: float = 20.0) -> tuple[dict[str, Any], bytes]:
    """Load an adapter, warm it up and ask for one burst of thirty inferences."""
    model = artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, run, load=load))
    opened, _ = open_artifact(model, timeout=timeout)
    with opened:
        send_arrays(opened, "inputs", {"x": np.ones((4, 4), np.float32)}, batch=1, single=[])
        opened.ask("warm", inferences=20, seconds=0.0, most_seconds=5.0)
        return opened.ask("burst", count=30, offset=0)


def test_an_honest_runtime_answers(tmp_path: Path) -> None:
    """The harness of the fault tests below measures a runtime that does nothing wrong."""
    answer, payload = burst(tmp_path, HONEST)
    assert len(payload) == 30 * 8
    assert answer["switches"] >= 0


FAULTS = {
    "crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed by signal 11"),
    "abort in the middle": (f"if self.calls > 25: os.abort()\n{HONEST}", "SIGABRT"),
    "killed for memory": ("os.kill(os.getpid(), signal.SIGKILL)", "memory runs out"),
    "exit": ("os._exit(0)", "exit code 0 in the middle"),
    "exception": ("raise RuntimeError('no such kernel')", "RuntimeError: no such kernel"),
    "allocates too much": ("return [np.ones((1 << 45,), np.float32)]", "MemoryError"),
    "NaN": ("return [np.full((1, 3), np.nan, np.float32)]", "NaN or infinite"),
    "infinity": ("return [np.full((1, 3), -np.inf)]", "NaN or infinite"),
    "NaN after a while": (
        "return [np.full((1, 3), np.nan if self.calls > 40 else 1.0, np.float32)]",
        "NaN or infinite",
    ),
    "shape changes": ("return [np.ones((1, 3 + (self.calls > 30)), np.float32)]", "outputs changed between calls"),
    "rows change": ("return [np.ones((1 + (self.calls > 30), 3), np.float32)]", "outputs changed between calls"),
    "type changes": ("return [np.ones((1, 3), 'f8' if self.calls > 30 else 'f4')]", "outputs changed between calls"),
    "fewer outputs": ("return [np.ones((1, 3))] * (2 - (self.calls > 30))", "outputs changed between calls"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_of_a_candidate_is_seen(tmp_path: Path, name: str) -> None:
    """Crash, kill, exit, exception, no numbers, other shapes: each is an error that names the candidate."""
    run, said = FAULTS[name]
    with pytest.raises(MeasurementError, match=said) as caught:
        burst(tmp_path, run)
    assert caught.value.where == "candidate"
    assert caught.value.exit_code == ExitCode.UNJUDGED


def test_a_hang_ends_at_the_time_out_and_leaves_no_process(tmp_path: Path) -> None:
    """A worker that does not answer is killed with everything that it started."""
    note = tmp_path / "child"
    run = f"""
        import subprocess
        child = subprocess.Popen(['sleep', '600'])
        open({str(note)!r}, 'w').write(str(child.pid))
        time.sleep(600)
        """
    with pytest.raises(MeasurementError, match="hung"):
        burst(tmp_path, run, timeout=1.0)
    child = int(note.read_text())
    deadline = time.monotonic() + 5
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(child)


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_hang_while_loading_is_a_fault_too(tmp_path: Path) -> None:
    """Loading has the same time-out as everything else."""
    with pytest.raises(MeasurementError, match="hung"):
        burst(tmp_path, HONEST, load="time.sleep(600)", timeout=1.0)


def test_what_a_runtime_prints_does_not_disturb_the_frames(tmp_path: Path) -> None:
    """Standard output of the runtime, from Python or from C, goes elsewhere."""
    _, payload = burst(tmp_path, f"print('noise'); os.write(1, b'WBW1 noise')\n{HONEST}")
    assert len(payload) == 30 * 8


def test_its_last_words_are_reported(tmp_path: Path) -> None:
    """A crash shows the last line that the process wrote."""
    with pytest.raises(MeasurementError, match="assertion x86 failed"):
        burst(tmp_path, "sys.stderr.write('assertion x86 failed'); sys.stderr.flush(); os.abort()")


def _framed(text: bytes) -> bytes:
    return frames.HEADER.pack(b"WBW1", len(text), 0) + text


FAKES = {
    "garbage": ("os.write(1, b'x' * 64)", "sent an invalid message"),
    "a frame cut off": (f"os.write(1, {frames.pack({'version': 'one'})[:-3]!r})", "exit code 0"),
    "NaN in JSON": (f"os.write(1, {_framed(b'[NaN]')!r})", "sent an invalid message"),
    "a list": (f"os.write(1, {_framed(b'[]')!r})", "is not an object"),
    "brackets without end": (
        "text = b'[' * 10**6; os.write(1, HEADER.pack(b'WBW1', len(text), 0) + text)",
        "invalid message",
    ),
    "a length beyond all bounds": (
        f"os.write(1, {frames.HEADER.pack(b'WBW1', 4_000_000_000, 0)!r})",
        "sent an invalid message",
    ),
    "silence": ("pass", "ended with exit code 0"),
}


@pytest.mark.parametrize("name", FAKES)
def test_garbage_on_the_pipe_is_never_an_answer(tmp_path: Path, name: str) -> None:
    """A process that is no worker is told from one."""
    code, said = FAKES[name]
    script = tmp_path / "fake.py"
    script.write_text(f"import os, struct, sys\nHEADER = struct.Struct('<4sIQ')\nos.read(0, 1 << 16)\n{code}\n")
    with (
        Worker("candidate", command=(sys.executable, "-I", str(script)), timeout=10.0) as fake,
        pytest.raises(MeasurementError, match=said),
    ):
        fake.ask("start", adapter="none")


def test_bytes_that_changed_since_they_were_hashed_are_not_loaded(tmp_path: Path) -> None:
    """The worker verifies the digest itself."""
    path = linear(tmp_path / "m.onnx")
    weighed = artifact(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(MeasurementError, match="changed before it was loaded"):
        open_artifact(weighed)


KILLED = """
import sys, time
from pathlib import Path
from weighbridge.gate.measure.staged_artifact import StagedArtifact
from weighbridge.gate.measure.process import open_artifact
opened, _ = open_artifact(StagedArtifact("candidate", ((sys.argv[1], sys.argv[2]),), Path(sys.argv[3])))
opened.send("inputs")
print(opened.process.pid, flush=True)
time.sleep(600)
"""


def test_a_worker_dies_with_the_process_that_asked(tmp_path: Path) -> None:
    """A gate that is killed leaves no model running, even one that hangs and reads nothing."""
    hanging = artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, "time.sleep(600)"))
    command = [sys.executable, "-c", KILLED, *hanging.files[0], str(hanging.adapter)]
    gate = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    child = int(gate.stdout.readline())
    assert _alive(child)
    gate.kill()
    gate.communicate()
    deadline = time.monotonic() + 5
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(child)


def test_leaving_the_context_ends_the_worker(tmp_path: Path) -> None:
    """Leaving it kills the process; a second kill does nothing."""
    opened, _ = open_artifact(artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, HONEST)))
    with opened:
        process = opened.process.pid
        os.kill(process, 0)
    opened.kill()
    assert opened.process.returncode is not None


def test_a_large_payload_to_a_worker_that_stopped_reading_times_out(tmp_path: Path) -> None:
    """Writing has a deadline as reading has."""
    script = tmp_path / "deaf.py"
    script.write_text("import time\ntime.sleep(60)\n")
    with (
        Worker("candidate", command=(sys.executable, "-I", str(script)), timeout=0.5) as deaf,
        pytest.raises(MeasurementError, match="hung"),
    ):
        deaf.ask("inputs", b"\0" * (1 << 22))


def test_a_worker_that_takes_too_much_memory_is_refused_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the process's own: the machine keeps its memory, and the fault names the limit."""
    monkeypatch.setenv("WEIGHBRIDGE_WORKER_MEMORY", str(1 << 29))
    body = "self.kept = getattr(self, 'kept', []) + [np.ones(1 << 24)]\nreturn [x[:, :3]]"
    opened, _ = open_artifact(artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, body)))
    with opened, pytest.raises(MeasurementError, match=f"ran out of memory: {1 << 29} bytes are the most"):
        answers_of(opened, examples(64).inputs, Feeding((), None), [0], 1)


def test_a_worker_without_a_limit_of_its_own_has_the_machines(tmp_path: Path) -> None:
    """Three quarters of the memory: what honest models need is there."""
    body = "import resource\nreturn [np.full((len(x), 3), float(resource.getrlimit(resource.RLIMIT_DATA)[0]))]"
    opened, _ = open_artifact(artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, body)))
    with opened:
        limit = answers_of(opened, examples(1).inputs, Feeding((), None), [0], 1)[0][0, 0]
    assert limit <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4


def test_a_worker_that_prints_without_end_does_not_fill_the_disk(tmp_path: Path) -> None:
    """What it prints is a file, and no file of a worker grows beyond its limit."""
    body = "while True:\n    os.write(2, b'x' * (1 << 20))"
    opened, _ = open_artifact(artifact(linear(tmp_path / "m.onnx"), adapter=adapter(tmp_path, body)))
    with opened, pytest.raises(MeasurementError, match="File too large"):
        answers_of(opened, examples(1).inputs, Feeding((), None), [0], 1)
