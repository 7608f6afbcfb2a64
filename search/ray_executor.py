"""Items done by a Ray cluster: the project travels there, each done item comes back as a bundle.

A node says which devices it reaches when it starts: `ray start --resources '{"device_phone": 1}'`. Weighing takes the
one unit of its device, so that Ray never lets two weigh on it. Retrying is the plan's: Ray itself begins nothing twice.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from weighbridge.core.errors import ExitCode, InputError, StateError
from weighbridge.core.git import Git
from weighbridge.search.carrying_out import in_process
from weighbridge.search.done_items import Stamps
from weighbridge.search.plan import Item

Work = Callable[[Path], Callable[[Item], int]]
"""A project's folder → what does an item there, as `in_process`."""
CONNECT_SECONDS = 5.0
GONE_SECONDS = 60.0
"""How long a device may be missing from the cluster before its item is given up."""
CLEANING_SECONDS = 10.0
"""How long nodes are waited for that remove the project when all is done."""
_CARRIED = ("data", "trained", "baseline", "stable", "device.json")


@dataclass(frozen=True)
class Connection:
    """A cluster, with the project on its way."""

    stamps: Stamps
    project: Any
    """Reference of the project's archive."""
    plan: Mapping[str, Item]
    """By key."""
    work: Work = in_process
    gone: float = GONE_SECONDS
    place: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Name of the project's folder on each node: of this connection alone, which removes it at its end."""

    @property
    def cores(self) -> int:
        """CPUs of the cluster and units of devices: how many items can run at once."""
        offered = resources()
        return max(
            1, int(sum(number for name, number in offered.items() if name == "CPU" or name.startswith("device_")))
        )

    def run(self, item: Item) -> int:
        """Do one item there and take what it gave; its exit code, -1 where its node or worker died.

        Judging is for here: it is short, and needs everything.
        """
        if item.kind == "judge":
            return self.work(self.stamps.root)(item)
        return self.stamps.do(item, partial(self._done, item))

    def _done(self, item: Item) -> int:
        import ray  # noqa: PLC0415  # only who asks for a cluster has it

        before = [self.plan[key] for key in item.needs]
        needs = [(other.to_json(), self.stamps.bundle(other)) for other in before]
        task = ray.remote(_there).options(max_retries=0, **_demands(item))
        reference = task.remote(self.place, self.project, item.to_json(), needs, self.work)
        try:
            if not self._ended(item, reference):
                return int(ExitCode.UNJUDGED)
            code, bundle = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise StateError(f"failed on its node: {error.cause}", where=f"{item.kind} {item.name}") from error
        except ray.exceptions.RayError:
            return -1
        if code == 0:
            self.stamps.put(item, bundle, f"what Ray gave for {item.kind} {item.name}")
        return int(code)

    def _ended(self, item: Item, reference: Any) -> bool:
        """Wait for it; False where the device that it needs has gone for good."""
        import ray  # noqa: PLC0415

        seen = time.monotonic()
        while True:
            ready, _ = ray.wait([reference], timeout=min(2.0, self.gone))
            if ready:
                return True
            if not _missing([item]):
                seen = time.monotonic()
            elif time.monotonic() - seen > self.gone:
                ray.cancel(reference, force=True)
                return False


@contextmanager
def connected(
    root: Path, plan: Sequence[Item], chosen: Sequence[Item], address: str | None, work: Work = in_process
) -> Iterator[Connection]:
    """A cluster to do `chosen` of a plan; without an address one of this machine's own, ended afterwards.

    Raises `StateError` where it cannot be reached, `InputError` where no node of it offers a device that is needed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere, as everywhere in this program
    import ray  # noqa: PLC0415  # only who asks for a cluster has it

    own = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    given = (
        {"address": address} if address else {**own, "resources": {_name(item): 1 for item in chosen if item.device}}
    )
    if address:
        _check_reachable(address)
    try:
        ray.init(log_to_driver=False, logging_level="error", **given)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise StateError(f"no Ray cluster: {str(error).splitlines()[0]}", where=f"--address {address}") from error
    try:
        if missing := _missing(chosen):
            raise InputError(
                f"no node offers {', '.join(missing)}",
                where="--address",
                fix=f"on the node that reaches it: ray start --address … --resources '{{\"{missing[0]}\": 1}}'",
            )
        made = Connection(Stamps(root), ray.put(archive(root)), {item.key: item for item in plan}, work)
        try:
            yield made
        finally:
            _clean(made.place)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself tries a dead address for over a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and int(port) < 65536):
        raise InputError("expected HOST:PORT or ray://HOST:PORT", where=f"--address {address}")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise StateError(f"no Ray cluster: {error.strerror or error}", where=f"--address {address}") from error


def archive(root: Path) -> bytes:
    """What an item needs of a project: its files, as far as Git does not ignore them, its data and its baselines."""
    listed = Git(root).attempt("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.returncode == 0:
        paths = [root / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [
            path for path in root.rglob("*") if not any(part.startswith(".") for part in path.relative_to(root).parts)
        ]
    paths = [path for path in paths if path.relative_to(root).parts[0] not in {"artifacts", "measurements", "reports"}]
    paths += [
        path for name in _CARRIED for path in [root / "artifacts" / name, *(root / "artifacts" / name).rglob("*")]
    ]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as archived:
        for path in sorted(set(paths)):
            if path.is_file():
                archived.add(path, path.relative_to(root).as_posix())
    return out.getvalue()


def resources() -> dict[str, float]:
    """What the nodes that are alive offer."""
    import ray  # noqa: PLC0415

    return dict(ray.cluster_resources())


def _there(
    place: str, project: bytes, given: dict[str, Any], needs: list[tuple[dict[str, Any], bytes]], work: Work
) -> tuple[int, bytes]:
    """Runs on a node: unpack the project once, bring what the item needs, do it, pack what it gave."""
    item, folder = Item.of_json(given), _unpacked(place, project)
    stamps = Stamps(folder)
    for other, bundle in needs:
        stamps.take(Item.of_json(other), bundle, "what the item needs")
    code = work(folder)(item)
    return code, stamps.bundle(item) if code == 0 else b""


def _home() -> Path:
    """Where projects lie on a node."""
    return Path(tempfile.gettempdir()) / f"weighbridge-ray-{os.getuid()}"


def _unpacked(place: str, project: bytes) -> Path:
    """The project's folder on this node, the same for all items of one connection."""
    home = _home()
    home.mkdir(mode=0o700, exist_ok=True)
    folder = home / place
    if home.stat().st_uid != os.getuid():
        raise StateError("belongs to somebody else", where=str(home))
    if not folder.is_dir():
        fresh = Path(tempfile.mkdtemp(dir=home, prefix=f"{place}."))
        with tarfile.open(fileobj=io.BytesIO(project)) as archived:
            archived.extractall(fresh, filter="data")
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # another worker of this node may have been first
                raise
    return folder


def _clean(place: str) -> None:
    """Have every node that is alive remove the project."""
    import ray  # noqa: PLC0415
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    tasks = []
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            options = {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": there}
            tasks.append(ray.remote(_removed).options(**options).remote(place))
    if tasks:
        ray.wait(tasks, num_returns=len(tasks), timeout=CLEANING_SECONDS)


def _removed(place: str) -> None:
    """Runs on a node: remove the project, and what a killed worker had begun to unpack."""
    for folder in _home().glob(f"{place}*"):
        shutil.rmtree(folder, ignore_errors=True)  # an item that was interrupted may still write there


def _demands(item: Item) -> dict[str, Any]:
    """What Ray keeps for an item while it runs."""
    return {"num_cpus": 1} if item.device is None else {"num_cpus": 0, "resources": {_name(item): 1}}


def _missing(items: Sequence[Item]) -> list[str]:
    offered = resources()
    return sorted({_name(item) for item in items if item.device is not None and not offered.get(_name(item))})


def _name(item: Item) -> str:
    return f"device_{item.device}"


__all__ = ["Connection", "archive", "connected"]
