"""Channels that move and servers that are killed while clients ask: what was answered, by which version."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.clients import Connection, rendered, rendered_json
from benchmarks.serving.processes import PATH, Ours
from tests.registry.project import MODEL
from weighbridge.registry.lifecycle.operate import Operator


@dataclass
class Seen:
    """What the clients of one run saw."""

    asked: int = 0
    failed: int = 0
    wrong_version: int = 0
    """Answers whose class is not that of the version which they name: another file answered."""
    versions: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def _ask(port: int, seen: Seen, stop: threading.Event, *, killed: bool, kept: list[str]) -> None:
    """Ask until told to stop; the class of an answer says which version really answered."""
    connection: Connection | None = None
    image, number = np.zeros((1, 4), np.float32), 0
    while not stop.is_set():
        number += 1
        identity = f"{threading.get_ident()}-{number}"
        try:
            connection = connection or Connection(port)
            status, body = connection.ask(rendered(PATH, image, identity))
        except OSError as error:
            connection = None
            if not killed:
                seen.failed += 1
                seen.problems.append(repr(error))
            time.sleep(0.02)
            continue
        seen.asked += 1
        if status != 200:
            seen.failed += 1
            seen.problems.append(body[:200].decode("latin-1"))
            continue
        head, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
        version = head["model_version"]
        seen.versions[version] += 1
        answered = int(np.frombuffer(body[end:], np.float32).argmax())
        seen.wrong_version += version != f"v{answered}"
        if killed and len(kept) < 2000:
            kept.append(identity)


def _clients(port: int, seen: Seen, count: int, *, killed: bool = False, kept: list[str] | None = None) -> Any:
    stop, kept = threading.Event(), [] if kept is None else kept
    threads = [
        threading.Thread(target=_ask, args=(port, seen, stop), kwargs={"killed": killed, "kept": kept})
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()

    def end() -> None:
        stop.set()
        for thread in threads:
            thread.join()

    return end


def status(port: int) -> dict[str, Any]:
    """What the server says of itself."""
    connection = Connection(port)
    connection.socket.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while (found := connection.received()) is None:
        pass
    connection.socket.close()
    said: dict[str, Any] = json.loads(found[1])
    return said


def moves(registry: Path, digests: dict[str, str], server: Ours, count: int, requests: int) -> tuple[Seen, list[float]]:
    """`count` moves of stable under load, and load until `requests` were made; seconds from each commit to its bytes
    serving.
    """
    seen, seconds, names = Seen(), [], sorted(digests)
    end = _clients(server.port, seen, 2)
    try:
        for number in range(count):
            version = names[(number + 1) % len(names)]
            Operator(registry, MODEL).release(version)
            begin = time.monotonic()
            while (said := status(server.port))["stable_digest"] != digests[version]:
                if time.monotonic() - begin > 30:
                    raise SystemExit(f"{version} is not served after 30 s: {said}")
                time.sleep(0.02)
            seconds.append(time.monotonic() - begin)
            if said["stable"] != version:
                raise SystemExit(f"wrong version beside the digest: {said}")
        while seen.asked < requests:
            time.sleep(0.1)
    finally:
        end()
    return seen, seconds


def kills(registry: Path, digests: dict[str, str], server: Ours, count: int) -> tuple[Seen, int, int]:
    """`count` times kill -9 under load at a random moment, the channel moved every fourth time; afterwards, labels of
    answered requests. Labels acknowledged, and labels that the server counts at the end.
    """
    seen, acknowledged, names = Seen(), 0, sorted(digests)
    for number in range(count):
        kept: list[str] = []
        end = _clients(server.port, seen, 1, killed=True, kept=kept)
        time.sleep(random.uniform(0.05, 0.3))
        if number % 4 == 0:
            Operator(registry, MODEL).release(names[(number // 4 + 1) % len(names)])
        labelling = Connection(server.port)
        for identity in kept[:5]:  # acknowledged before the kill: they must not be counted twice nor lost
            if labelling.ask(rendered_json("/v2/feedback", {"id": identity, "label": "1"}))[0] == 200:
                acknowledged += 1
        server.kill()
        end()
        server.start()
        after = Connection(server.port)
        for identity in kept[5:10]:  # answered before the kill, labelled after it
            answered, body = after.ask(rendered_json("/v2/feedback", {"id": identity, "label": "1"}))
            if answered == 200:
                acknowledged += 1
            else:
                seen.problems.append(f"feedback for {identity}: {answered} {body[:100]!r}")
        said = status(server.port)
        if digests[said["stable"]] != said["stable_digest"]:
            seen.wrong_version += 1
    return seen, acknowledged, _labelled(server.port)


def _labelled(port: int) -> int:
    connection = Connection(port)
    connection.socket.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    while (found := connection.received()) is None:
        pass
    rows = [line for line in found[1].decode().splitlines() if line.startswith("weighbridge_labelled_total{")]
    return int(sum(float(line.rsplit(" ", 1)[1]) for line in rows))
