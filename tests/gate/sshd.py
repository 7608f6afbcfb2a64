"""A real OpenSSH server on loopback, with keys, known hosts and a configuration of its own."""

import contextlib
import getpass
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
"""

CLIENT = """\
Host *
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  HostKeyAlias [127.0.0.1]:{port}
"""


@dataclass(frozen=True)
class Server:
    """Where it listens, and how a client reaches it."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, Any]:
        """What tells the gate to use this server's keys and known hosts alone."""
        import os

        return {**os.environ, "WEIGHBRIDGE_SSH_COMMAND": f"ssh -F {self.folder}/client"}


@contextlib.contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Start `sshd` with one host key and one user key; ends it and everybody connected to it."""
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder))
    (folder / "client").write_text(CLIENT.format(folder=folder, port=port))
    kind, key = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    with contextlib.suppress(PermissionError):  # where sshd separates its privileges; it needs it to start as root
        Path("/run/sshd").mkdir(exist_ok=True)
    daemon = shutil.which("sshd") or "/usr/sbin/sshd"
    log = (folder / "log").open("wb")
    process = subprocess.Popen([daemon, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log, stdout=log)
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start: {(folder / 'log').read_text()}")
            time.sleep(0.05)
        yield Server(folder, port)
    finally:
        process.terminate()
        process.wait(10)
        log.close()


class Cable:
    """A way to a port that can be cut: what goes through it is dropped in the middle, as networks drop it."""

    def __init__(self, port: int) -> None:
        self.port, self.ends = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                self.ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def cut(self) -> None:
        """Reset every connection that is open now."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends = []

    def close(self) -> None:
        self.cut()
        self.listener.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(1 << 16):
            sink.sendall(part)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def bare_python(folder: Path, *packages: str) -> Path:
    """A virtual environment with nothing but numpy and the packages named; hard links, no download."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    here, there = (
        Path(subprocess.check_output([python, "-c", SITE], text=True).strip())
        for python in (sys.executable, folder / "bin/python")
    )
    for package in ("numpy", "numpy.libs", *packages):
        for source in here.glob(package):
            target = there / source.name
            if source.is_dir():
                shutil.copytree(source, target, copy_function=_link, symlinks=True)
            else:
                _link(source, target)
    return folder / "bin" / "python"


SITE = "import sysconfig; print(sysconfig.get_paths()['purelib'])"


def _link(source: str | Path, target: str | Path) -> None:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
