"""Real servers on loopback for the tests: Debian's docker-registry and OpenSSH's sshd."""

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REGISTRY_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""

SSHD_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command: list[str], ready: Callable[[], Any], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server's process, from when it answers until the test is over; what it says goes to a file."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended at once: {log.read_text()[-2000:]}")
            if ready():
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{command[0]} did not answer")
        yield process
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


@contextlib.contextmanager
def docker_registry(folder: Path) -> Iterator[tuple[str, Path]]:
    """Debian's docker-registry; yields `host:port` and the folder of its files."""
    port = free_port()
    config, root = folder / "config.yml", folder / "data"
    root.mkdir()
    config.write_text(REGISTRY_CONFIG.format(root=root, port=port))

    def ready() -> Any:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1).status == 200
        return False

    with running(["docker-registry", "serve", str(config)], ready, folder / "log"):
        yield f"127.0.0.1:{port}", root


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[tuple[Any, Path]]:
    """OpenSSH's server with one key of its own; yields its port and the path of the user's private key."""
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
    port = free_port()
    config = folder / "sshd_config"
    config.write_text(SSHD_CONFIG.format(port=port, folder=folder))
    # Where sshd separates its privileges; it does not start as root without it.
    with contextlib.suppress(PermissionError):
        Path("/run/sshd").mkdir(exist_ok=True)
    daemon = shutil.which("sshd") or "/usr/sbin/sshd"
    with running([daemon, "-D", "-e", "-f", str(config)], lambda: listens(port), folder / "log"):
        yield port, folder / "user_key"
