"""Devices as the pipeline and the command line see them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.gate import sshd
from tests.gate.devices.test_command import SCRIPT
from tests.gate.models import examples, weights
from tests.gate.stages.test_pipeline import _artifact
from weighbridge.cli import app
from weighbridge.core.documents import Device, DeviceSection, Measurement, Params
from weighbridge.core.errors import InputError, MeasurementError
from weighbridge.data import write_npz
from weighbridge.gate.devices import open_place
from weighbridge.gate.devices.local import Local
from weighbridge.gate.devices.place import Place
from weighbridge.gate.devices.survey import survey
from weighbridge.gate.stages import pipeline
from weighbridge.gate.verdict.judge import judge

PARAMS = {
    "model": {"name": "tiny", "factory": "some.model:Net"},
    "data": {"factory": "some.data:load"},
    "recipes": {"twice": {"steps": [{"quantize": {"scheme": "fp16"}}]}},
    "budgets": [
        {"metric": "accuracy.top1", "max_drop": 0.05},
        {"metric": "memory.peak", "max": "500MB", "device": "pi"},
    ],
}
OFF = {"address": "ssh://127.0.0.1:1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Server]:
    with sshd.server(tmp_path_factory.mktemp("sshd")) as found:
        yield found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: sshd.Server) -> Path:
    """A project whose pipeline has run up to weighing; `ssh` reaches the server alone."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("WEIGHBRIDGE_SSH_COMMAND", server.environment["WEIGHBRIDGE_SSH_COMMAND"])
    artifacts = tmp_path / "artifacts"
    _artifact(artifacts / "baseline" / "onnxruntime", "baseline", weights())
    _artifact(artifacts / "recipes" / "twice" / "onnxruntime", "twice", weights() * np.float32(2))
    write_npz(artifacts / "data" / "test.npz", examples(300))
    return tmp_path


def write(root: Path, devices: dict[str, dict[str, Any]]) -> Params:
    (root / "params.yaml").write_text(yaml.safe_dump({**PARAMS, "devices": devices}, sort_keys=False))
    return Params.read(root / "params.yaml")


def reached(server: sshd.Server, **rest: Any) -> dict[str, Any]:
    return {"address": server.address, "python": sys.executable, **rest}


def test_a_pipeline_weighs_here_and_there(root: Path, server: sshd.Server) -> None:
    """One measurement a device, each judged by the budgets that apply to it."""
    params = write(root, {"local": {}, "pi": reached(server)})
    here, there = pipeline.weigh(root, "twice")
    assert (here.device.name, there.device.name) == ("local", "pi")
    assert here.faults == there.faults == []
    verdicts = [judge(found, params.budgets) for found in (here, there)]
    assert [verdict.verdict for verdict in verdicts] == ["pass", "pass"]
    assert [len([b for b in verdict.budgets if b.metric == "memory.peak"]) for verdict in verdicts] == [0, 1]
    assert Measurement.read(root / "measurements/twice/onnxruntime@pi.json").device.device_class == "pi"


def test_a_device_that_is_off_is_an_error_and_stops_no_other(root: Path) -> None:
    """Its verdict says why; the machine here is weighed all the same."""
    params = write(root, {"pi": OFF, "local": {}})
    there, here = pipeline.weigh(root, "twice")
    verdict = judge(there, params.budgets)
    assert verdict.verdict == "error"
    assert "cannot be reached at ssh://127.0.0.1:1" in " ".join(item.reason for item in verdict.budgets)
    assert judge(here, params.budgets).verdict == "pass"


def test_what_a_device_measured_before_it_went_off_is_kept(root: Path, server: sshd.Server) -> None:
    """The launches are there when it is back, and it is an error until then."""
    params = write(root, {"pi": reached(server)})
    (first,) = pipeline.weigh(root, "twice")
    taken = first.comparisons[0].metrics["memory.peak"].candidate
    write(root, {"pi": OFF})
    (off,) = pipeline.weigh(root, "twice")
    assert judge(off, params.budgets).verdict == "error"
    assert off.comparisons[0].metrics["memory.peak"].candidate == taken
    write(root, {"pi": reached(server)})
    (back,) = pipeline.weigh(root, "twice")
    assert back.faults == []
    assert back.comparisons[0].metrics["memory.peak"].candidate[: len(taken)] == taken
    assert any("ended in a fault" in note for note in back.comparisons[0].controls.notes)


def test_a_harness_weighs_in_the_pipeline(root: Path) -> None:
    """The same stage, the same documents."""
    write(root, {"board": {"command": [sys.executable, str(SCRIPT)]}})
    (found,) = pipeline.weigh(root, "twice")
    assert found.faults == []
    assert found.device.cpu == "Test board"
    assert found.comparisons[0].metrics["accuracy.top1"].examples == 300


def test_the_device_stage_describes_them_all(root: Path, server: sshd.Server) -> None:
    """Measurements are taken again where a device changed or came back; the same devices give the same bytes."""
    write(root, {"local": {}, "pi": reached(server), "off": OFF})
    pipeline.device(root)
    before = (root / "artifacts" / "device.json").read_bytes()
    said = json.loads(before)
    assert said["others"]["pi"]["name"] == "pi"
    assert said["others"]["off"] == "not reached"
    assert Device.read(root / "artifacts" / "device.json").name == "local"
    pipeline.device(root)
    assert (root / "artifacts" / "device.json").read_bytes() == before


def test_threads_and_cores_of_a_section_are_used(root: Path) -> None:
    """Instead of those of `weighing`."""
    allowed = sorted(Local().cores(1).workers + Local().cores(1).harness)
    write(root, {"local": {"threads": 2, "cores": [allowed[0]], "device_class": "ci"}})
    (found,) = pipeline.weigh(root, "twice")
    assert found.protocol.threads == 2
    assert found.device.device_class == "ci"


def test_a_core_that_is_not_there_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """With the key."""
    with open_place("local", DeviceSection(cores=[4096]), tmp_path) as place, pytest.raises(InputError) as caught:
        place.cores(1)
    assert caught.value.where == "params.yaml: devices.local.cores"


def test_the_survey_says_what_is_reached(root: Path, server: sshd.Server) -> None:
    """In the order of the file, with what each has and lacks."""
    write(root, {"local": {}, "pi": reached(server), "off": OFF, "none": {"command": ["./nothing"]}})
    rows = survey(root)
    assert [(row["name"], row["reachable"]) for row in rows] == [
        ("local", True), ("pi", True), ("off", False), ("none", False),
    ]  # fmt: skip
    assert "onnxruntime" in rows[1]["targets"]
    assert rows[1]["missing"] == []
    assert "refused" in rows[2]["problem"]
    assert "cannot be started" in rows[3]["problem"]


def test_the_command_exits_with_0_only_if_all_are_reached(root: Path, server: sshd.Server) -> None:
    """0, then 3; the table and the JSON say the same."""
    write(root, {"local": {}, "pi": reached(server)})
    done = CliRunner().invoke(app, ["devices", "--root", str(root)])
    assert done.exit_code == 0
    assert "\npi " in done.stdout
    write(root, {"local": {}, "off": OFF})
    done = CliRunner().invoke(app, ["devices", "--root", str(root), "--json"])
    assert done.exit_code == 3
    assert [row["reachable"] for row in json.loads(done.stdout)] == [True, False]


def test_a_device_without_the_runtime_is_not_fit(
    root: Path, server: sshd.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reached, but of no use: 3 as well, with what is missing."""
    write(root, {"pi": reached(server)})

    def bare(name: str, section: DeviceSection, folder: Path) -> Place:
        place = open_place(name, section, folder)
        place.device = place.device.model_copy(update={"runtimes": {"python": "3.12"}})
        return place

    monkeypatch.setattr(survey, "__defaults__", (bare,))
    done = CliRunner().invoke(app, ["devices", "--root", str(root)])
    assert done.exit_code == 3
    assert "no runtime for onnxruntime" in done.stdout


def test_a_place_that_was_not_reached_refuses_everything(root: Path) -> None:
    """Whatever is asked of it, the answer is why."""
    from weighbridge.gate.devices.unreached import Unreached

    error = MeasurementError("is off", where="pi")
    place = Unreached("pi", error, None, None)
    assert place.device.device_class == "pi"
    for act in (
        lambda: place.stage([], "onnxruntime"), lambda: place.cores(1), place.energy, lambda: place.journey(None),
        lambda: place.answer(None, None, [0], None), lambda: place.launch(None, frozenset(), None),
    ):  # fmt: skip
        with pytest.raises(MeasurementError, match="is off"):
            act()
