"""Weighing by a harness of the user's: a script of the tests, honest and otherwise."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.gate.models import examples, linear, weights
from weighbridge.core.documents import Budget, DeviceSection, Weighing
from weighbridge.core.errors import ExitCode, MeasurementError
from weighbridge.gate.devices import open_place
from weighbridge.gate.devices.command import Harness
from weighbridge.gate.devices.local import Local
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.launch_setup import Journey, LaunchProtocol, Setup
from weighbridge.gate.measure.launches import Launch
from weighbridge.gate.measure.model_files import Model, read_model
from weighbridge.gate.weighing.job import Source, read_job
from weighbridge.gate.weighing.locked import times, weigh_locked

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).parents[1] / "harness.py"
QUICK = LaunchProtocol(fewest_rounds=5, rounds=10)
MANNER = Manner(Feeding((), None))
METRICS = frozenset({"latency.p50"})
ONLY = "if request['operation'] == {!r}: "


def harness(tmp_path: Path, trick: str = "") -> Harness:
    """The script with a trick: Python that sees and changes what it is about to say."""
    section = DeviceSection(command=[sys.executable, str(SCRIPT), trick], device_class="board")
    return Harness("board", section, tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> list[Model]:
    return [
        read_model(linear(tmp_path / "a.onnx"), "baseline"),
        read_model(linear(tmp_path / "b.onnx", weights() * np.float32(2)), "candidate"),
    ]


def launch(place: Harness, models: list[Model], metrics: frozenset[str] = METRICS) -> Launch:
    ready = Setup(place.stage(models, "onnxruntime"), examples(16).inputs, (), QUICK, place.cores(1))
    return place.launch(ready, metrics, np.random.default_rng(0), control=True)


def test_an_honest_harness_weighs(tmp_path: Path, models: list[Model]) -> None:
    """Description, answers and a launch, with the second baseline that was asked for."""
    with harness(tmp_path) as place:
        assert (place.device.name, place.device.device_class, place.device.cpu) == ("board", "board", "Test board")
        staged = place.stage(models, "onnxruntime")
        outputs, note = place.answer(staged["candidate"], examples(), [0], MANNER)
        assert (outputs[0].argmax(1) == examples().labels).all()
        assert "harness of board" in note
        taken = launch(place, models)
        assert taken.values["latency.p50"].keys() == {"baseline", "candidate", "control"}
        assert taken.values["memory.peak"]["candidate"] == 9_000_000
        assert taken.samples["latency.p50"] == 5 * 9
        assert isinstance(place.energy(), str)
        assert isinstance(place.journey(Journey("a:b", tmp_path)), str)
        folder = Path(place.folder.name)
    assert not folder.exists()


LIES = {
    "zero": ("said['phases'][0]['rounds'][0]['bursts']['candidate']['ns'][3] = 0", "greater than 0"),
    "negative": ("said['phases'][0]['rounds'][0]['bursts']['candidate']['ns'][3] = -7", "greater than 0"),
    "NaN": (
        "said['phases'][0]['rounds'][0]['bursts']['candidate']['ns'][3] = float('nan')",
        "sent an invalid answer to 'launch'",
    ),
    "a fraction": ("said['phases'][0]['rounds'][0]['bursts']['candidate']['ns'][3] = 0.5", "valid integer"),
    "faster than its clock": ("said['phases'][0]['rounds'][0]['bursts']['candidate']['ns'][3] = 39", "steps of 40 ns"),
    "longer than its burst": (
        "said['phases'][0]['rounds'][0]['bursts']['candidate']['ns'][3] = 10**14",
        "clock jumped",
    ),
    "always the same": (
        "[b['candidate'].update(ns=[9000] * 10) for b in (r['bursts'] for r in said['phases'][0]['rounds'])]",
        "clock jumped|exactly 9000 ns",
    ),
    "bursts of unequal length": (
        "said['phases'][0]['rounds'][0]['bursts']['candidate']['ns'].pop()",
        "not all as many",
    ),
    "a round without a role": ("del said['phases'][0]['rounds'][2]['bursts']['control']", "has other roles"),
    "too few rounds": ("del said['phases'][0]['rounds'][3:]", "gave 3 rounds"),
    "no rounds": ("said['phases'] = []", "gave 0 rounds"),
    "a role too few": ("del said['roles']['control']", "instead of"),
    "another file": (
        "said['roles']['candidate']['digest'] = said['roles']['baseline']['digest']",
        "it was given sha256",
    ),
    "no digest": ("del said['roles']['candidate']['digest']", "digest: Field required"),
    "memory of nothing": ("said['roles']['candidate']['memory'] = 0", "greater than 0"),
    "a load of days": ("said['roles']['candidate']['load_ns'] = 10**15", "s of inferences within"),
    "an unknown key": ("said['phases'][0]['rounds'][0]['burst'] = {}", "Extra inputs"),
    "nothing": ("sys.exit(0)", "sent an invalid answer to 'launch'"),
    "words": ("print('done')", "Invalid JSON"),
    "its exit code": ("sys.exit('no board attached')", "exit code 1.*no board attached"),
    "a crash": ("import os; os.abort()", "exit code -6"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_cannot_be_is_not_believed(tmp_path: Path, models: list[Model], name: str) -> None:
    """Each lie is a fault that names the device, and none is a launch."""
    trick, said = LIES[name]
    with (
        harness(tmp_path, ONLY.format("launch") + trick) as place,
        pytest.raises(MeasurementError, match=said) as caught,
    ):
        launch(place, models)
    assert caught.value.where in ("board", "candidate", "launch")
    assert caught.value.exit_code == ExitCode.UNJUDGED


DAMAGED = """
np.savez_compressed(request['write'], **{'0': np.random.default_rng(0).random((200, 3))})
with open(request['write'], 'r+b') as file:
    file.seek(200)
    file.write(b'x' * 40)
"""
ENDLESS = """
import zipfile
with zipfile.ZipFile(request['write'], 'w') as file, file.open('0.npy', 'w') as head:
    np.lib.format.write_array_header_1_0(head, dict(descr='<f8', fortran_order=False, shape=(200, 10**13)))
"""
ANSWERS = {
    "of another file": ("said['digest'] = 'sha256:' + '0' * 64", "it was given"),
    "not written": ("import os; os.unlink(request['write'])", "did not write its outputs"),
    "one short": ("np.savez(request['write'], **{'0': np.ones((199, 3))})", "199.* of 200"),
    "of another output": ("np.savez(request['write'], **{'7': np.ones((200, 3))})", "cannot be read"),
    "pickled": ("np.savez(request['write'], **{'0': np.array([object()] * 200)})", "cannot be read"),
    "NaN": ("np.savez(request['write'], **{'0': np.full((200, 3), np.nan)})", "NaN or infinite"),
    "the same for all": ("np.savez(request['write'], **{'0': np.ones((200, 3))})", "ignores its input"),
    "random": (
        "np.savez(request['write'], **{'0': np.random.default_rng().random((len(inputs_of(request)), 3))})",
        "its answers differ between runs: of 128 examples",
    ),
    "cut off": ("open(request['write'], 'wb').write(b'PK')", "cannot be read"),
    "cut off in the middle": (
        "data = open(request['write'], 'rb').read(); open(request['write'], 'wb').write(data[: len(data) // 2])",
        "cannot be read",
    ),
    "damaged": (DAMAGED, "cannot be read"),
    "a bomb": ("np.savez_compressed(request['write'], **{'0': np.zeros((200, 2 * 10**5))})", "unpacks to .* at most"),
    "of a shape without end": (ENDLESS, "cannot be read"),
    "no archive": ("np.save(open(request['write'], 'wb'), np.ones((200, 3)))", "cannot be read"),
    "of text": ("np.savez(request['write'], **{'0': np.full((200, 3), 'a')})", "numbers"),
    "of complex numbers": ("np.savez(request['write'], **{'0': np.full((200, 3), 1j)})", "numbers"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_faults(tmp_path: Path, models: list[Model], name: str) -> None:
    """Accuracy rests on what the harness wrote: it must be whole, numeric and of the file that it was given."""
    trick, said = ANSWERS[name]
    with harness(tmp_path, f"if request['operation'] == 'answer': exec({trick!r})") as place:
        artifact = place.stage(models, "onnxruntime")["candidate"]
        with pytest.raises(MeasurementError, match=said):
            place.answer(artifact, examples(), [0], MANNER)


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        ("said['clock_ns'] = 0", "clock_ns"),
        ("del said['clock_ns']", "clock_ns: Field required"),
        ("said['cores'] = 0", "cores"),
        ("said['cpu'] = ''", "cpu"),
        ("said = None; sys.exit(3)", "exit code 3"),
    ],
)
def test_a_harness_that_cannot_describe_its_device_is_not_opened(tmp_path: Path, trick: str, said: str) -> None:
    """Nothing is weighed on a device that nobody can name."""
    with pytest.raises(MeasurementError, match=said):
        harness(tmp_path, ONLY.format("describe") + trick)


def test_a_command_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(MeasurementError, match=r"board: its command './no-harness' cannot be started"):
        open_place("board", DeviceSection(command=["./no-harness"]), tmp_path)


def test_a_hanging_harness_is_killed_with_its_children(
    tmp_path: Path, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of its time, and whatever it started too."""
    monkeypatch.setattr("weighbridge.gate.devices.command.LAUNCH_SECONDS", 3.0)
    note = tmp_path / "child"
    child = "import subprocess; c = subprocess.Popen(['sleep', '600'])"
    trick = f"{child}; open({str(note)!r}, 'w').write(str(c.pid)); time.sleep(600)"
    with harness(tmp_path, ONLY.format("launch") + trick) as place, pytest.raises(MeasurementError, match="hung"):
        launch(place, models)
    deadline = time.monotonic() + 5
    while _alive(int(note.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(int(note.read_text()))


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_endless_answer_is_not_read(tmp_path: Path, models: list[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """More than any answer has is a fault."""
    monkeypatch.setattr("weighbridge.gate.devices.command.MOST_BYTES", 1 << 16)
    with (
        harness(tmp_path, ONLY.format("launch") + "print('x' * (1 << 17))") as place,
        pytest.raises(MeasurementError, match=r"at most .* are read"),
    ):
        launch(place, models)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_answer_without_end_is_stopped_while_it_grows(
    tmp_path: Path, models: list[Model], monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    """A harness that never stops writing is killed long before its time is over, and before the disk is full."""
    monkeypatch.setattr("weighbridge.gate.devices.command.MOST_BYTES", 1 << 20)
    endless = f"while True: sys.{stream}.write('x' * (1 << 16))"
    trick = ONLY.format("launch") + f"exec({endless!r})"
    with (
        harness(tmp_path, trick) as place,
        pytest.raises(MeasurementError, match=r"at most .* are read"),
    ):
        launch(place, models)


def test_a_file_of_outputs_without_end_is_stopped_while_it_grows(
    tmp_path: Path, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was told to write is held to the same size, long before it says that it is done."""
    monkeypatch.setattr("weighbridge.gate.devices.command.MOST_BYTES", 1 << 20)
    endless = "f = open(request['write'], 'wb')\nwhile True: f.write(b'x' * (1 << 16)); f.flush()"
    with harness(tmp_path, ONLY.format("answer") + f"exec({endless!r})") as place:
        artifact = place.stage(models, "onnxruntime")["candidate"]
        with pytest.raises(MeasurementError, match=r"answered \d+ bytes; at most 1048576 are read"):
            place.answer(artifact, examples(), [0], MANNER)


def test_the_command_runs_in_the_projects_folder(tmp_path: Path) -> None:
    """Relative words of the configuration mean files of the project."""
    script = tmp_path / "mine.sh"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} {SCRIPT}\n")
    script.chmod(0o755)
    with open_place("board", DeviceSection(command=["./mine.sh"]), tmp_path) as place:
        assert place.device.device_class == "board"


HOLDER = """
import sys, time
from pathlib import Path
from tests.gate.devices.test_command import harness
mine, other = Path(sys.argv[1]), Path(sys.argv[2])
with harness(mine.parent, sys.argv[3]) as place, place.machine_lock(lambda _: None):
    assert not (mine.parent / f"held-{sys.argv[3]}").exists()
    (mine.parent / f"held-{sys.argv[3]}").touch()
    mine.touch()
    ends = time.monotonic() + float(sys.argv[4])
    while not other.exists() and time.monotonic() < ends:
        time.sleep(0.01)
    print("met" if other.exists() else "by itself", flush=True)
    (mine.parent / f"held-{sys.argv[3]}").unlink()
"""


def hold_at_once(folder: Path, tricks: list[str], seconds: float) -> list[str]:
    """Two processes, each with a harness of its own words; whether each saw the other hold its device meanwhile."""
    folder.mkdir()
    marks = [folder / "first", folder / "second"]
    held = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(mine), str(other), trick, str(seconds)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
        )
        for mine, other, trick in zip(marks, reversed(marks), tricks, strict=True)
    ]  # fmt: skip
    said = sorted(process.communicate(timeout=120)[0].strip() for process in held)
    assert [process.returncode for process in held] == [0, 0]
    return said


def test_one_device_is_held_by_one_process_and_two_devices_by_two(tmp_path: Path) -> None:
    """The same command waits; another command, and this machine's own lock, are other devices."""
    assert hold_at_once(tmp_path / "two", ["", "pass"], 60) == ["met", "met"]
    assert hold_at_once(tmp_path / "one", ["", ""], 0.5) == ["by itself", "met"]
    with harness(tmp_path) as place, place.machine_lock(pytest.fail), Local().machine_lock(pytest.fail):
        assert place.device.device_class == "board"


def test_a_harness_that_computes_here_holds_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever weighs here waits for it; without the declaration it would be measured beside them."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    section = DeviceSection(command=[sys.executable, str(SCRIPT), ""], computes_here=True)

    def waited(_: float) -> None:
        raise InterruptedError

    with Harness("board", section, tmp_path) as place:
        with place.machine_lock(pytest.fail), pytest.raises(InterruptedError), Local().machine_lock(waited):
            pytest.fail("both held the machine")
        with Local().machine_lock(pytest.fail), pytest.raises(InterruptedError), place.machine_lock(waited):
            pytest.fail("both held the machine")


def test_a_harness_is_held_even_where_nothing_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for answers while its lock is taken: two weighings never reach for one board."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    look = (
        "import fcntl, glob\n"
        "if request['operation'] == 'answer':\n"
        f"    for path in glob.glob({str(tmp_path)!r} + '/weighbridge-device-*.lock'):\n"
        "        try:\n"
        "            fcntl.flock(open(path), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "        except BlockingIOError:\n"
        "            continue\n"
        "        raise SystemExit('not held')\n"
    )
    models = [linear(tmp_path / "a.onnx"), linear(tmp_path / "b.onnx", padding=9)]
    with harness(tmp_path, look) as place:
        source = Source(models[0], models[1], examples(), "eval.npz")
        job = read_job(source, [Budget(metric="accuracy.top1", max_drop=0.1)], place.device, Weighing())
        assert not times(job)
        assert weigh_locked(job, tmp_path / "found.json", place=place).faults == []
    assert list(tmp_path.glob("weighbridge-device-*.lock"))
