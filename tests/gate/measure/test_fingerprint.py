import os
from pathlib import Path

import pytest

from weighbridge.gate.measure import fingerprint
from weighbridge.gate.measure.launches import Cores, steal_ticks

CPUINFO = """\
processor	: 0
model name	: Example CPU 9000
flags		: fpu avx2 fma avx512_vnni hypervisor

processor	: 1
model name	: Example CPU 9000
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    (tmp_path / "meminfo").write_text("MemTotal:       16301232 kB\nMemFree: 1 kB\n")
    lines = [f"cpu{core} 10 0 5 900 7 1 2 {3 * core} 0 0" for core in sorted(os.sched_getaffinity(0))]
    (tmp_path / "stat").write_text("\n".join(["cpu 1 2 3", *lines, "intr 5"]))
    return tmp_path


def test_the_same_machine_gives_the_same_document(proc: Path) -> None:
    """Free memory, load and time do not change the fingerprint."""
    first = fingerprint.describe({}, proc)
    (proc / "meminfo").write_text("MemTotal:       16301000 kB\nMemFree: 999 kB\n")
    assert fingerprint.describe({}, proc) == first
    assert first.cpu == "Example CPU 9000"
    assert first.isa == ["avx2", "avx512_vnni", "fma"]
    assert first.memory_bytes == 16 * 2**30
    assert {"python", "numpy", "onnxruntime"} <= first.runtimes.keys()
    assert first.runtimes.keys() <= {"python", "numpy", "onnxruntime", "ai-edge-litert", "executorch"}


def test_another_cpu_or_class_is_another_device(proc: Path) -> None:
    """What changes speed or int8 answers changes the fingerprint."""
    first = fingerprint.describe({}, proc)
    declared = fingerprint.describe({"WEIGHBRIDGE_DEVICE_CLASS": "ci-2core"}, proc)
    (proc / "cpuinfo").write_text(CPUINFO.replace("avx512_vnni", ""))
    without = fingerprint.describe({}, proc)
    assert declared.device_class == "ci-2core"
    assert first.device_class == f"Example CPU 9000, {first.cores} cores"
    assert len({first.fingerprint, declared.fingerprint, without.fingerprint}) == 3


def test_a_machine_that_says_nothing_of_itself_is_still_a_device(tmp_path: Path) -> None:
    """No /proc: the fingerprint rests on what Python knows."""
    found = fingerprint.describe({}, tmp_path)
    assert found.cpu
    assert found.isa == []
    assert fingerprint.busy_seconds(tmp_path).keys() == os.sched_getaffinity(0)


def test_workers_get_the_least_busy_cores_and_the_harness_the_others() -> None:
    """On one core alone both must share it."""
    assert Cores.choose(1, {0: 50.0, 1: 2.0}) == Cores((1,), (0,))
    assert Cores.choose(2, {0: 9.0, 1: 2.0, 2: 1.0, 3: 8.0}) == Cores((1, 2), (0, 3))
    assert Cores.choose(1, {0: 5.0}) == Cores((0,), (0,))


def test_stolen_time_is_read_per_core(proc: Path) -> None:
    """The eighth counter of a core's line in /proc/stat; nothing where there is none."""
    core = max(os.sched_getaffinity(0))
    assert steal_ticks((core,), proc / "stat") == 3 * core
    assert steal_ticks((core,), proc / "nothing") == 0
    assert fingerprint.busy_seconds(proc)[core] == 10 + 5 + 1 + 2 + 3 * core
