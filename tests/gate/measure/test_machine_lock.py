import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weighbridge.core.errors import StateError
from weighbridge.gate.measure.machine_lock import lock_path, machine_lock

HOLDER = """
import sys
from pathlib import Path
from weighbridge.gate.measure.machine_lock import machine_lock
with machine_lock(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Another process that holds the machine."""
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.communicate()


def test_the_second_gate_waits_and_says_so(held: tuple[Path, subprocess.Popen[str]]) -> None:
    """It goes on as soon as the first has finished."""
    path, process = held
    said = []

    def sleep(_: object) -> None:
        if len(said) == 3:
            process.communicate("")

    with machine_lock(path, said.append, sleep=sleep):
        assert len(said) == 3


def test_waiting_is_bounded(held: tuple[Path, subprocess.Popen[str]]) -> None:
    """After the limit there is one clear error instead of a gate that never ends."""
    path, _ = held
    clock = iter(range(0, 10_000, 100))
    with (
        pytest.raises(StateError, match="timed out after"),
        machine_lock(path, lambda _: None, limit=300, clock=lambda: next(clock), sleep=lambda _: None),
    ):
        pytest.fail("two gates at once")


def test_a_gate_that_dies_gives_the_machine_back(held: tuple[Path, subprocess.Popen[str]]) -> None:
    """The lock belongs to the open file, not to a note that somebody must remove."""
    path, process = held
    process.kill()
    process.communicate()
    with machine_lock(path, lambda _: pytest.fail("nobody holds it")):
        pass


def test_the_lock_lies_in_the_users_runtime_directory(tmp_path: Path) -> None:
    """Two users do not meet in a file that one of them cannot open."""
    assert lock_path({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "weighbridge-gate.lock"
    assert "weighbridge-" in str(lock_path({}))


def test_a_lock_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be opened"), machine_lock(tmp_path / "file" / "lock", lambda _: None):
        pytest.fail("held nothing")
