"""Weighing on a machine behind a real `sshd` on loopback, whose Python has numpy and onnxruntime and nothing else."""

import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.gate import sshd
from tests.gate.models import examples, linear, weights
from weighbridge.core.documents import DeviceSection
from weighbridge.core.errors import ExitCode, InputError, MeasurementError
from weighbridge.gate.devices import connection as wire
from weighbridge.gate.devices import open_place
from weighbridge.gate.devices.claims import check_clock
from weighbridge.gate.devices.connection import Connection, DroppedError
from weighbridge.gate.devices.local import Local
from weighbridge.gate.devices.session import command
from weighbridge.gate.devices.ssh import Ssh
from weighbridge.gate.measure.evaluation import Manner
from weighbridge.gate.measure.feeding import Feeding
from weighbridge.gate.measure.launch_setup import Journey, LaunchProtocol, Setup
from weighbridge.gate.measure.model_files import Model, read_model
from weighbridge.gate.measure.process import Child

QUICK = LaunchProtocol(
    warm_seconds=0.0, rounds=20, fewest_rounds=5, launch_seconds=0.2, throughput_batch_size=8, timeout=20
)
MANNER = Manner(Feeding((), None), timeout=20)
METRICS = frozenset({"latency.p50", "throughput"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with sshd.server(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter as a bare device has it."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    return sshd.bare_python(
        folder, "numpy-*.dist-info", "onnxruntime", "onnxruntime-*.dist-info", "packaging", "google"
    )


@pytest.fixture
def section(server: sshd.Server, python: Path, tmp_path: Path) -> DeviceSection:
    (tmp_path / "device").mkdir()
    return DeviceSection(address=server.address, python=str(python), folder=str(tmp_path / "device"))


@pytest.fixture
def connect(server: sshd.Server, section: DeviceSection) -> Iterator[Callable[..., Ssh]]:
    """Connect, with retries that do not wait; closed at the end."""
    opened = []

    def connected(**changes: str | list[int]) -> Ssh:
        place = Ssh("pi", section.model_copy(update=changes), server.environment, sleep=lambda _: None)
        opened.append(place)
        return place

    yield connected
    for place in opened:
        place.close()


@pytest.fixture
def models(tmp_path: Path) -> list[Model]:
    return [
        read_model(linear(tmp_path / "a.onnx"), "baseline"),
        read_model(linear(tmp_path / "b.onnx", weights() * np.float32(2)), "candidate"),
    ]


def setup(place: Ssh, models: list[Model], journey: Any = None) -> Setup:
    return Setup(place.stage(models, "onnxruntime"), examples(64).inputs, (), QUICK, place.cores(1), journey)


def gone(folder: Path, seconds: float = 10.0) -> bool:
    """Whether a folder is empty before long."""
    deadline = time.monotonic() + seconds
    while list(folder.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not list(folder.iterdir())


def ours(folder: Path) -> list[int]:
    """The agent on the device, as the processes of this machine show it."""
    found = []
    for process in folder.iterdir() if folder.exists() else []:
        out = subprocess.run(["pgrep", "-f", str(process)], check=False, capture_output=True, text=True)
        found += [int(line) for line in out.stdout.split()]
    return found


def test_the_device_has_nothing_but_numpy_and_the_runtime(python: Path) -> None:
    """What is tested below does not lean on packages of this machine."""
    for package in ("pydantic", "yaml", "onnx", "scipy"):
        assert subprocess.run([python, "-c", f"import {package}"], check=False, capture_output=True).returncode != 0


def test_a_weighbridge_that_is_installed_there_is_not_asked(
    connect: Callable[..., Ssh], server: sshd.Server, tmp_path: Path, models: list[Model]
) -> None:
    """Another version would answer in another way: agent and workers are of the code that was sent."""
    bare = sshd.bare_python(
        tmp_path / "old", "numpy-*.dist-info", "onnxruntime", "onnxruntime-*.dist-info", "packaging", "google"
    )
    site = subprocess.check_output([bare, "-c", sshd.SITE], text=True).strip()
    for name in ("", "gate", "gate/devices", "gate/measure"):
        (Path(site) / "weighbridge" / name).mkdir()
        (Path(site) / "weighbridge" / name / "__init__.py").write_text("raise SystemError('an earlier version')\n")
    place = connect(python=str(bare))
    assert place.device.cpu == Local().device.cpu
    launch = place.launch(setup(place, models), METRICS, np.random.default_rng(0))
    assert launch.values


def test_it_is_described_there(connect: Callable[..., Ssh], python: Path) -> None:
    """Fingerprint, runtimes and class come from the device, not from here."""
    device = connect().device
    assert (device.name, device.device_class) == ("pi", "pi")
    assert device.runtimes.keys() == {"python", "numpy", "onnxruntime"}
    assert device.cpu == Local().device.cpu
    assert connect(device_class="pi4").device.device_class == "pi4"


def test_answers_are_those_of_this_machine(connect: Callable[..., Ssh], models: list[Model]) -> None:
    """The same file gives the same outputs at the other end, and all of them."""
    place = connect()
    far, _ = place.answer(place.stage(models, "onnxruntime")["candidate"], examples(), [0], MANNER)
    with Local() as here:
        near, _ = here.answer(here.stage(models, "onnxruntime")["candidate"], examples(), [0], MANNER)
    assert far[0].shape == (200, 3)
    np.testing.assert_array_equal(far[0], near[0])


def test_a_launch_there_has_every_metric(connect: Callable[..., Ssh], models: list[Model]) -> None:
    """Times, memory and controls, from two fresh processes on the device."""
    place = connect()
    launch = place.launch(setup(place, models), METRICS, np.random.default_rng(0), control=True)
    assert launch.values.keys() >= {"latency.p50", "latency.p99", "throughput", "cold_start", "memory.peak"}
    assert launch.values["latency.p50"]["candidate"] > 0
    assert launch.values["memory.peak"]["baseline"] > 1e7
    assert abs(launch.log_ratios["latency.p50"]["control", "baseline"]) < 1


def test_nothing_is_left_behind(
    connect: Callable[..., Ssh], models: list[Model], section: DeviceSection, tmp_path: Path
) -> None:
    """Leaving it removes the folder; a runtime's file is gone afterwards too."""
    place = connect()
    place.stage(models, "onnxruntime")
    assert len(list((tmp_path / "device").iterdir())) == 1
    place.close()
    assert gone(tmp_path / "device")


@pytest.mark.parametrize("victim", ["client", "agent"])
def test_nothing_is_left_behind_by_a_kill(
    connect: Callable[..., Ssh], models: list[Model], tmp_path: Path, victim: str
) -> None:
    """Killed without warning at either end, in the middle of its work."""
    place = connect()
    ready = setup(place, models)
    slow = dataclasses.replace(ready, protocol=dataclasses.replace(QUICK, launch_seconds=5.0, rounds=10_000))
    place.sleep = lambda _: pytest.fail("no retry was asked for")
    folder = tmp_path / "device"
    agents = ours(folder)
    failed = []

    def launch() -> None:
        try:
            place.connection.ask("record", **_request(place, slow))
        except MeasurementError as error:
            failed.append(error)

    thread = threading.Thread(target=launch)
    thread.start()
    time.sleep(1.0)
    workers = ours(folder)
    assert workers != agents, "workers are at work in the folder"
    if victim == "client":
        os.killpg(place.connection.process.pid, signal.SIGKILL)
    else:
        agent = int(subprocess.check_output(["pgrep", "-P", str(_session(workers[0])), "-o"], text=True).split()[0])
        os.kill(agent, signal.SIGKILL)
    thread.join(30)
    assert isinstance(failed[0], DroppedError)
    assert gone(folder)
    assert not ours(folder)


def _session(worker: int) -> int:
    """The shell's process that the agent descends from."""
    agent = int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(worker)], text=True))
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(agent)], text=True))


def _request(place: Ssh, ready: Setup) -> Any:
    place.inputs = ready.inputs
    place._send_inputs()
    return place._request(ready, frozenset({"latency.p50"}), seed=1, control=False)


def drop(place: Ssh) -> None:
    os.killpg(place.connection.process.pid, signal.SIGKILL)
    place.connection.process.wait()


def test_a_dropped_connection_is_opened_again(connect: Callable[..., Ssh], models: list[Model]) -> None:
    """Files, inputs and the machine's lock are there again, and the launch is taken again."""
    place = connect()
    ready = setup(place, models)
    with place.machine_lock(lambda _: None):
        place.launch(ready, METRICS, np.random.default_rng(0))
        drop(place)
        again = place.launch(ready, METRICS, np.random.default_rng(1))
        assert place.connection.ask("lock")[0]["taken"]
    assert again.values["latency.p50"]["candidate"] > 0


def test_a_cut_cable_is_survived(
    connect: Callable[..., Ssh], models: list[Model], server: sshd.Server, tmp_path: Path
) -> None:
    """The network goes away in the middle of a launch: it is taken again, and the first agent leaves nothing."""
    cable = sshd.Cable(server.port)
    try:
        place = connect(address=server.address.replace(str(server.port), str(cable.own)))
        ready = setup(place, models)
        first = next((tmp_path / "device").iterdir())
        slow = dataclasses.replace(ready, protocol=dataclasses.replace(QUICK, launch_seconds=1.5, rounds=5000))
        threading.Timer(1.0, cable.cut).start()
        launch = place.launch(slow, METRICS, np.random.default_rng(0))
        assert launch.values["latency.p50"]["candidate"] > 0
        (second,) = (tmp_path / "device").iterdir()
        assert second != first
    finally:
        cable.close()


def test_a_connection_that_keeps_dropping_is_a_fault(
    connect: Callable[..., Ssh], models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the retries nothing is invented: the last drop is what is reported."""
    place = connect()
    ready = setup(place, models)
    asked = []
    original = Connection.ask

    def ask(self: Child, operation: str, *args: Any, **rest: Any) -> tuple[dict[str, Any], bytes]:
        if operation == "record":
            asked.append(operation)
            os.killpg(self.process.pid, signal.SIGKILL)
        return original(self, operation, *args, **rest)

    monkeypatch.setattr(Connection, "ask", ask)
    with pytest.raises(MeasurementError, match=r"dropped 4 times.*SIGKILL") as caught:
        place.launch(ready, METRICS, np.random.default_rng(0))
    assert len(asked) == 4
    assert caught.value.where == "pi"
    assert caught.value.exit_code == ExitCode.UNJUDGED


def test_another_machine_behind_the_same_name_is_refused(
    connect: Callable[..., Ssh], models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reconnect that reaches another device must not go on with its launches."""
    place = connect()
    ready = setup(place, models)
    place.device = place.device.model_copy(update={"fingerprint": "sha256:" + "0" * 64})
    drop(place)
    with pytest.raises(MeasurementError, match="a different machine"):
        place.launch(ready, METRICS, np.random.default_rng(0))


def test_an_unknown_host_is_not_trusted(server: sshd.Server, section: DeviceSection, tmp_path: Path) -> None:
    """A key that is not in the user's known hosts ends it, without a question."""
    client = tmp_path / "client"
    client.write_text((server.folder / "client").read_text().replace("known_hosts", "nobody_known"))
    environment = {**server.environment, "WEIGHBRIDGE_SSH_COMMAND": f"ssh -F {client}"}
    with pytest.raises(MeasurementError, match=r"cannot be reached.*Host key verification failed"):
        Ssh("pi", section, environment)


def test_a_wrong_key_is_one_error(server: sshd.Server, section: DeviceSection, tmp_path: Path) -> None:
    """Nobody is asked for a password."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    client = tmp_path / "client"
    client.write_text(
        (server.folder / "client").read_text().replace(str(server.folder / "user_key"), str(tmp_path / "other"))
    )
    environment = {**server.environment, "WEIGHBRIDGE_SSH_COMMAND": f"ssh -F {client}"}
    with pytest.raises(MeasurementError, match=r"cannot be reached.*Permission denied"):
        Ssh("pi", section, environment)


def test_a_machine_that_is_off_is_not_reached(server: sshd.Server, section: DeviceSection) -> None:
    """A closed port: one error that says how to try by hand."""
    off = section.model_copy(update={"address": "ssh://127.0.0.1:1"})
    with pytest.raises(
        MeasurementError, match=r"pi: cannot be reached at ssh://127.0.0.1:1.*refused.*BatchMode"
    ) as caught:
        Ssh("pi", off, server.environment)
    assert str(caught.value).count("\n") == 0


def test_a_python_that_is_not_there_is_named(connect: Callable[..., Ssh]) -> None:
    """What the device's shell says is passed on."""
    with pytest.raises(MeasurementError, match="no-such-python"):
        connect(python="/nowhere/no-such-python")


def test_words_of_the_configuration_are_never_run_by_a_shell(connect: Callable[..., Ssh], tmp_path: Path) -> None:
    """The interpreter's name is one word there, whatever stands in it."""
    with pytest.raises(MeasurementError):
        connect(python=f"python3;touch${{IFS}}{tmp_path}/pwned")
    assert not (tmp_path / "pwned").exists()


def test_a_python_without_numpy_says_so(connect: Callable[..., Ssh], tmp_path: Path) -> None:
    """Before anything is sent there."""
    bare = tmp_path / "bare"
    subprocess.run(["python3", "-m", "venv", "--without-pip", str(bare)], check=True)
    with pytest.raises(MeasurementError, match=r"lacks what measuring needs.*numpy"):
        connect(python=str(bare / "bin" / "python"))
    assert gone(tmp_path / "device")


def test_a_folder_that_is_not_there_says_so(connect: Callable[..., Ssh]) -> None:
    """One line with the folder."""
    with pytest.raises(MeasurementError, match="cannot make a folder in /nowhere"):
        connect(folder="/nowhere")


def test_a_missing_runtime_says_how_to_install_it(connect: Callable[..., Ssh], models: list[Model]) -> None:
    """A device of another architecture than its wheels, or one that was never set up."""
    with pytest.raises(MeasurementError, match=r"no executorch, which runs executorch.*install executorch"):
        connect().stage(models, "executorch")


def test_a_runtime_that_cannot_load_is_a_fault(
    connect: Callable[..., Ssh], models: list[Model], tmp_path: Path
) -> None:
    """As a wheel for another processor is: the import fails on the device, and the fault says what it said."""
    place = connect()
    ready = setup(place, models)
    there = next((tmp_path / "device").iterdir())
    (there / "adapter" / "onnxruntime.py").write_text("raise ImportError('wrong ELF class: ELFCLASS32')")
    with pytest.raises(MeasurementError, match="wrong ELF class"):
        place.launch(ready, METRICS, np.random.default_rng(0))


def test_too_little_disk_is_one_error(connect: Callable[..., Ssh], models: list[Model]) -> None:
    """Before the first byte is sent."""
    place = connect()
    place.connection.said["free_bytes"] = 1000
    with pytest.raises(MeasurementError, match="has 1000 bytes free"):
        place.stage(models, "onnxruntime")
    assert not place.sent


def test_bytes_that_change_on_the_device_are_not_loaded(
    connect: Callable[..., Ssh], models: list[Model], tmp_path: Path
) -> None:
    """Its disk is checked again before loading."""
    place = connect()
    ready = setup(place, models)
    there = next((tmp_path / "device").iterdir())
    with (there / "1" / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(MeasurementError, match="changed before it was loaded") as caught:
        place.launch(ready, METRICS, np.random.default_rng(0))
    assert caught.value.where == "pi: candidate"


def test_a_fault_of_the_candidate_there_names_it(
    connect: Callable[..., Ssh], models: list[Model], tmp_path: Path
) -> None:
    """A crash at the other end reads like one here."""
    place = connect()
    ready = setup(place, models)
    there = next((tmp_path / "device").iterdir())
    crash = (
        (there / "adapter" / "onnxruntime.py")
        .read_text()
        .replace("        outputs: list[Array] = self", "        os.abort()\n        outputs: list[Array] = self")
    )
    (there / "adapter" / "onnxruntime.py").write_text(crash)
    with pytest.raises(MeasurementError, match="SIGABRT"):
        place.launch(ready, METRICS, np.random.default_rng(0))


def test_two_gates_wait_for_each_other_on_the_device(connect: Callable[..., Ssh]) -> None:
    """The second is told that it waits; the first one's end lets it in."""
    first, second = connect(), connect()
    waited = []

    def waiting(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            first.close()

    second.sleep = time.sleep
    with first.machine_lock(lambda _: None), second.machine_lock(waiting):
        assert len(waited) >= 3


FACTORY = """\
import numpy as np
from weighbridge.data import Data, Split
{extra}
def load():
    split = Split({{"x": np.ones((4, 4), np.float32)}}, np.zeros(4, np.int64))
    return Data(train=split, test=split, preprocess=preprocess, postprocess=lambda outputs: 1, raw=list(range(40)))

def preprocess(raw):
    return {{"x": np.full((1, 4), raw, np.float32)}}
"""


def test_the_users_code_is_timed_there(connect: Callable[..., Ssh], models: list[Model], tmp_path: Path) -> None:
    """One file goes there: the module that the configuration names."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.py").write_text(FACTORY.format(extra=""))
    (tmp_path / "mine" / "secret.py").write_text("")
    place = connect()
    journey = place.journey(Journey("mine.data:load", tmp_path))
    ready = setup(place, models, journey)
    launch = place.launch(ready, frozenset({"latency.end_to_end"}), np.random.default_rng(0))
    assert launch.values["latency.end_to_end"]["candidate"] > 0
    sent = [path.name for path in next((tmp_path / "device").iterdir()).rglob("mine/*.py")]
    assert sent == ["data.py"]


LOADS = """\
from pathlib import Path
import numpy as np
from weighbridge.data import Data, Split

def load():
    rows = np.load(Path(__file__).with_name("rows.npy"))
    split = Split({"x": rows.astype(np.float32)}, np.zeros(len(rows), np.int64))
    return Data(train=split, test=split, preprocess=preprocess, postprocess=POST, raw=rows)

def preprocess(raw):
    return {"x": raw[None].astype(np.float32)}

def postprocess(outputs):
    return int(outputs[0].argmax())
"""


def test_the_data_set_need_not_be_there(
    connect: Callable[..., Ssh], models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions of the module itself go by their names, and raw examples with them: the factory is not called there."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loads.py").write_text(LOADS.replace("POST", "postprocess"))
    np.save(tmp_path / "rows.npy", np.arange(160, dtype=np.uint8).reshape(40, 4))
    place = connect()
    journey = place.journey(Journey("loads:load", tmp_path))
    assert (journey.preprocess, journey.postprocess, journey.raw.shape) == ("preprocess", "postprocess", (32, 4))
    ready = setup(place, models, journey)
    drop(place)  # examples are sent again too
    launch = place.launch(ready, frozenset({"latency.end_to_end"}), np.random.default_rng(0))
    assert launch.values["latency.end_to_end"]["candidate"] > 0
    assert not list(next((tmp_path / "device").iterdir()).rglob("*.npy"))


def test_a_closure_cannot_go_by_name(
    connect: Callable[..., Ssh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the factory is called there, and what it lacks is the reason."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "closes.py").write_text(LOADS.replace("POST", "lambda outputs: 1"))
    np.save(tmp_path / "rows.npy", np.arange(160, dtype=np.uint8).reshape(40, 4))
    said = connect().journey(Journey("closes:load", tmp_path))
    assert "cannot be run on pi" in said
    assert "rows.npy" in said


def test_code_that_cannot_run_there_is_a_reason(connect: Callable[..., Ssh], tmp_path: Path) -> None:
    """A package that the device lacks: absent with what it said, not a fault of the models."""
    (tmp_path / "mydata.py").write_text(FACTORY.format(extra="import pandas"))
    said = connect().journey(Journey("mydata:load", tmp_path))
    assert isinstance(said, str)
    assert "cannot be run on pi" in said
    assert "pandas" in said


def test_a_package_is_not_one_file(connect: Callable[..., Ssh], tmp_path: Path) -> None:
    """Only the module that is named goes there."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text(FACTORY.format(extra=""))
    assert "not one file" in connect().journey(Journey("mine:load", tmp_path))


def _lie(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]
) -> None:
    """Let a device's answer to `record` pass through `change(said, payload)`."""
    original = Connection.ask

    def ask(self: Child, operation: str, *args: Any, **rest: Any) -> Any:
        said, payload = original(self, operation, *args, **rest)
        return change(said, payload) if operation == "record" else (said, payload)

    monkeypatch.setattr(Connection, "ask", ask)


def _times(
    change: Callable[[NDArray[Any]], NDArray[Any]],
) -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    return lambda said, payload: (said, change(np.frombuffer(payload, "<i8").copy()).astype("<i8").tobytes())


def _set(times: NDArray[Any], value: int) -> NDArray[Any]:
    times[3] = value
    return times


def _said(key: list[str | int], value: object) -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    def change(said: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        target = said
        for part in key[:-1]:
            target = target[part]
        target[key[-1]] = value
        return said, payload

    return change


LIES = {
    "zero": (_times(lambda t: _set(t, 0)), "clock went backwards"),
    "negative": (_times(lambda t: _set(t, -5)), "clock went backwards"),
    "below its clock's step": (_times(lambda t: _set(t, 1)), "its clock moves in steps"),
    "always the same": (_times(lambda t: np.full_like(t, 500)), "took exactly 500 ns"),
    "longer than its burst": (_times(lambda t: _set(t, 10**15)), "clock jumped"),
    "one short": (lambda said, payload: (said, payload[:-8]), "the answer is not a launch"),
    "one too many": (lambda said, payload: (said, payload + payload[-8:]), "the answer is not a launch"),
    "other roles": (_said(["roles"], ["baseline", "other"]), "the answer is not a launch"),
    "a count of nothing": (_said(["phases", 0, "count"], 0), "the answer is not a launch"),
    "a count beyond all bounds": (_said(["phases", 0, "count"], 1 << 40), "the answer is not a launch"),
    "no phases": (_said(["phases"], []), "gave 0 rounds|bytes of durations"),
    "memory of nothing": (_said(["facts", "candidate", "memory"], 0), "memory = 0"),
    "memory in words": (_said(["facts", "candidate", "memory"], "much"), "memory = 'much'"),
    "a load before its begin": (_said(["facts", "candidate", "load_ns"], -1), "load_ns = -1"),
    "a load of days": (_said(["facts", "candidate", "load_ns"], 10**15), "s of inferences within"),
    "a load beyond all numbers": (_said(["facts", "candidate", "load_ns"], 10**400), "load_ns = 1000"),
    "joules beyond all numbers": (
        _said(["joules"], {"baseline": 10**400, "candidate": 1}),
        "the answer is not a launch",
    ),
    "no facts": (_said(["facts"], {}), "the answer is not a launch"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_cannot_be_is_not_believed(
    connect: Callable[..., Ssh], models: list[Model], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A device that lies in a way that can be found out is a fault that names it."""
    change, said = LIES[name]
    place = connect()
    ready = setup(place, models)
    _lie(monkeypatch, change)
    with pytest.raises(MeasurementError, match=said) as caught:
        place.launch(ready, METRICS, np.random.default_rng(0))
    assert not isinstance(caught.value, DroppedError)


def test_more_than_passed_is_not_believed(
    connect: Callable[..., Ssh], models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device whose own clock runs fast agrees with itself; the clock here does not agree."""

    def faster(said: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        times = np.frombuffer(payload, "<i8") * 1000
        for phase in said["phases"]:
            phase["elapsed_ns"] = [[value * 1000 for value in row] for row in phase["elapsed_ns"]]
        return said, times.tobytes()

    place = connect()
    ready = setup(place, models)
    _lie(monkeypatch, faster)
    with pytest.raises(MeasurementError, match="s of inferences within"):
        place.launch(ready, METRICS, np.random.default_rng(0))


@pytest.mark.parametrize("value", ["much", 0, None, True])
def test_facts_that_no_metric_needs_are_checked_too(
    connect: Callable[..., Ssh],
    models: list[Model],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    value: str | int | None,
) -> None:
    """End-to-end launches report no cold start; its times are held against the clock all the same."""
    (tmp_path / "mydata.py").write_text(FACTORY.format(extra=""))
    place = connect()
    ready = setup(place, models, place.journey(Journey("mydata:load", tmp_path)))
    _lie(monkeypatch, _said(["facts", "candidate", "load_ns"], value))
    with pytest.raises(MeasurementError, match="answered load_ns"):
        place.launch(ready, frozenset({"latency.end_to_end"}), np.random.default_rng(0))


def test_a_wrong_digest_is_found_when_a_file_arrives(
    connect: Callable[..., Ssh], models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device says what lies on its disk; another digest ends it."""
    original = Connection.ask

    def ask(self: Child, operation: str, *args: Any, **rest: Any) -> tuple[dict[str, Any], bytes]:
        said, payload = original(self, operation, *args, **rest)
        return ({**said, "digest": "sha256:" + "0" * 64}, payload) if operation == "put" else (said, payload)

    place = connect()
    monkeypatch.setattr(Connection, "ask", ask)
    with pytest.raises(MeasurementError, match="instead of sha256"):
        place.stage(models, "onnxruntime")


@pytest.mark.parametrize(
    ("operation", "reply", "said"),
    [
        ("open", {}, "^pi: did not start a worker"),
        ("open", {"worker": "one"}, "^pi: did not start a worker"),
        ("ask", {}, "^pi: baseline: answered nothing for output 0"),
    ],
)
def test_answers_that_are_none_name_the_device(
    connect: Callable[..., Ssh],
    models: list[Model],
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    reply: dict[str, str],
    said: str,
) -> None:
    """What is missing in an answer is a fault of the device, not a traceback here."""
    original = Connection.ask

    def ask(self: Child, asked: str, *args: Any, **rest: Any) -> tuple[dict[str, Any], bytes]:
        found = original(self, asked, *args, **rest)
        return (reply, b"") if asked == operation else found

    place = connect()
    artifact = place.stage(models, "onnxruntime")["baseline"]
    monkeypatch.setattr(Connection, "ask", ask)
    with pytest.raises(MeasurementError, match=said):
        place.answer(artifact, examples(), [0], MANNER)


@pytest.mark.parametrize("said", [0, -1, None, True, "5", 1.5, 10**12])
def test_a_clock_without_a_step_is_no_clock(said: str | float | None) -> None:
    """What the checks above rest on is checked itself."""
    with pytest.raises(MeasurementError, match="steps of"):
        check_clock(said, "pi")


def test_a_device_that_describes_nonsense_is_a_fault(
    server: sshd.Server, section: DeviceSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its description goes into the report and the fingerprint: it must be one."""
    original = Connection.ask

    def ask(self: Child, operation: str, *args: Any, **rest: Any) -> tuple[dict[str, Any], bytes]:
        said, payload = original(self, operation, *args, **rest)
        if operation == "hello":
            said["facts"]["cores"] = "many"
        return said, payload

    monkeypatch.setattr(Connection, "ask", ask)
    with pytest.raises(MeasurementError, match="sent an invalid description of itself: cores"):
        Ssh("pi", section, server.environment)


def test_an_oversized_answer_is_not_read(
    connect: Callable[..., Ssh], models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A length beyond what any answer has ends it before a byte of it is kept."""
    place = connect()
    artifact = place.stage(models, "onnxruntime")["baseline"]
    monkeypatch.setattr(Connection, "most_payload", 100)
    with pytest.raises(MeasurementError, match="claims an answer of"):
        place.answer(artifact, examples(), [0], MANNER)


def test_a_shell_that_prints_is_told_from_an_agent(server: sshd.Server, section: DeviceSection, tmp_path: Path) -> None:
    """A login script that greets breaks the frames: one error, with the hint."""
    greeter = tmp_path / "greeter"
    greeter.write_text("#!/bin/sh\necho 'Welcome to this machine, have a good day!'\nexec cat\n")
    greeter.chmod(0o755)
    environment = {**server.environment, "WEIGHBRIDGE_SSH_COMMAND": str(greeter)}
    with pytest.raises(MeasurementError, match="sent an invalid message"):
        Ssh("pi", section, environment)


def test_cores_of_the_section_are_used_and_checked(connect: Callable[..., Ssh]) -> None:
    """A core that is missing is an error of the configuration."""
    allowed = sorted(os.sched_getaffinity(0))
    assert connect(cores=[allowed[-1]]).cores(1).workers == (allowed[-1],)
    with pytest.raises(InputError, match=r"no core 4096") as caught:
        connect(cores=[4096]).cores(1)
    assert caught.value.where == "params.yaml: devices.pi.cores"


def test_the_command_line_holds_no_more_than_the_configuration() -> None:
    """User, host and port are words of their own; nothing is asked and no unknown host accepted."""
    section = DeviceSection(address="ssh://me@host.example:2222", python="/opt/my python/bin/python3".replace(" ", "_"))
    words = command(section, {})
    assert words[0] == "ssh"
    assert words[words.index("-l") + 1] == "me"
    assert words[words.index("-p") + 1] == "2222"
    assert words[words.index("--") + 1] == "host.example"
    assert "BatchMode=yes" in words
    assert "StrictHostKeyChecking=yes" in words


def test_the_modules_that_are_sent_import_nothing_else(python: Path, tmp_path: Path) -> None:
    """On an interpreter with numpy alone: what runs there is complete, and needs no more."""
    for path in wire.MODULES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((wire.ROOT / path).read_text())  # type: ignore[attr-defined]
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import weighbridge.gate.devices.agent, weighbridge.data"
    done = subprocess.run([python, "-I", "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_section_opens_its_place(
    server: sshd.Server, section: DeviceSection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The configuration alone chooses the way."""
    monkeypatch.setenv("WEIGHBRIDGE_SSH_COMMAND", server.environment["WEIGHBRIDGE_SSH_COMMAND"])
    with open_place("pi", section, tmp_path) as place:
        assert isinstance(place, Ssh)
    with open_place("local", DeviceSection(), tmp_path) as place:
        assert isinstance(place, Local)
