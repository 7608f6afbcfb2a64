"""Registries with many versions, and GTO's tags on as many commits, written by `git fast-import`."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.registry import project as made
from weighbridge.core.files import dump_yaml, sha256_bytes
from weighbridge.core.strict_yaml import parse_yaml
from weighbridge.registry.lifecycle.promote import PromotionRequest, promote
from weighbridge.registry.state import rollout
from weighbridge.registry.state.events import Event, NewRecord
from weighbridge.registry.state.layout import channels_path, event_path, evidence_path, version_path
from weighbridge.registry.state.records import NO_EVENT, Channels, Head, VersionRecord
from weighbridge.registry.state.store import render

MODEL_COUNT = 20
PROMOTED = [f"new{number}" for number in range(5)]
"""Recipes whose promotion is timed."""


def build(root: Path, size: int) -> None:
    """A project whose registry has `size` versions over 20 models, one commit each, written by `git fast-import`."""
    made.STEPS.update({name: [{"quantize": {"scheme": "fp16"}}] for name in PROMOTED})
    made.make_repository(root)
    made.write_run(root, recipes=tuple(PROMOTED))
    first = made.commit_all(root)
    sample = promoted_sample(root.parent / "sample", first)
    names = [made.MODEL, *(f"model-{number:02d}" for number in range(1, MODEL_COUNT))]
    states = {name: Channels(model=name) for name in names}
    stream = subprocess.Popen(["git", "fast-import", "--quiet"], cwd=root, stdin=subprocess.PIPE)
    assert stream.stdin is not None
    for number in range(size):
        name = names[number % MODEL_COUNT]
        states[name], files = grow(states[name], sample, number)
        stream.stdin.write(commit_stream(files, first if number == 0 else None, number))
    stream.stdin.close()
    if stream.wait() != 0:
        raise SystemExit("git fast-import failed")
    made.git(root, "reset", "-q", "--hard", "main")


@dataclass(frozen=True)
class Sample:
    """What one real promotion wrote: its record, and what is kept beside it, by name."""

    record: dict[str, Any]
    kept: dict[str, bytes]


def promoted_sample(root: Path, commit: str) -> Sample:
    """A promotion in a project of its own, as if it had been made from this commit."""
    made.make_repository(root)
    made.write_run(root)
    made.commit_all(root)
    promote(root, PromotionRequest("int8"))
    where = version_path(made.MODEL, "v1")
    record = parse_yaml((root / where).read_text(), where)
    assert isinstance(record, dict)
    kept = {name: (root / evidence_path(made.MODEL, "v1", name)).read_bytes() for name in record["evidence"]}
    return Sample({**record, "commit": commit}, kept)


def grow(channels: Channels, sample: Sample, number: int) -> tuple[Channels, dict[str, bytes]]:
    """One promotion more: the new state and the files that it writes."""
    model, version = channels.model, f"v{channels.versions + 1}"
    digest = sha256_bytes(str(number).encode())
    event_number = channels.head.event + 1 if channels.head else 1
    artifact = {**sample.record["artifacts"][0], "digest": digest}
    own = {"model": model, "version": version, "event": event_number, "artifacts": [artifact]}
    record = VersionRecord.model_validate({**sample.record, **own})
    data = render_fast(record)
    entry = NewRecord(version=version, digest=digest, record=sha256_bytes(data))
    event = Event(
        number=event_number,
        model=model,
        kind="promoted",
        at="2026-11-01T00:00:00Z",
        by="Test <test@example.org>",
        records=[entry],
        target={"version": version, "digest": digest, "record": entry.record},
        previous=channels.head.digest if channels.head else NO_EVENT,
    )
    folded = rollout.apply(channels, event)
    event = event.model_copy(update={"after": rollout.after(folded), "state": folded.digest()})
    event_data = render_fast(event)
    folded = folded.model_copy(update={"head": Head(event=event_number, digest=sha256_bytes(event_data))})
    return folded, {
        version_path(model, version): data,
        event_path(model, event_number): event_data,
        channels_path(model): render(folded),
        **{evidence_path(model, version, name): kept for name, kept in sample.kept.items()},
    }


def render_fast(document: VersionRecord | Event) -> bytes:
    """As `render`, for documents whose bytes only need a digest: JSON is YAML too, but this is what YAML looks like."""
    try:
        from yaml import CSafeDumper, dump
    except ImportError:
        return dump_yaml(document.to_json()).encode()
    text = dump(document.to_json(), Dumper=CSafeDumper, sort_keys=False, allow_unicode=True, width=110)
    assert isinstance(text, str)
    return text.encode()


def commit_stream(files: dict[str, bytes], parent: str | None, number: int) -> bytes:
    """One commit in fast-import's format."""
    parts = [
        b"commit refs/heads/main\ncommitter Test <test@example.org> %d +0000\ndata 1\nx\n" % (1_790_000_000 + number)
    ]
    if parent:
        parts.append(f"from {parent}\n".encode())
    for path, data in files.items():
        parts.append(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
    return b"".join(parts) + b"\n"


def build_gto(root: Path, size: int) -> None:
    """A repository with as many commits, each with GTO's version tag, and a stage tag on each model's newest."""
    made.make_repository(root)
    commits = [f"commit refs/heads/main\nmark :{n + 1}\ncommitter T <t@e.org> {1_790_000_000 + n} +0000\ndata 1\nx\n"
               f"M 100644 inline f\ndata {len(str(n))}\n{n}\n\n" for n in range(size)]  # fmt: skip
    names = [made.MODEL, *(f"model-{number:02d}" for number in range(1, MODEL_COUNT))]
    tags = []
    for n in range(size):
        name, version = names[n % MODEL_COUNT], n // MODEL_COUNT + 1
        tags.append(tag(f"{name}@v{version}.0.0", n + 1, 1_790_000_000 + n))
        if n >= size - MODEL_COUNT:
            tags.append(tag(f"{name}#prod#1", n + 1, 1_790_000_000 + n))
    text = "".join(commits + tags)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input=text.encode(), check=True)
    made.git(root, "reset", "-q", "--hard", "main")


def tag(name: str, mark: int, at: int) -> str:
    """One annotated tag in fast-import's format."""
    return f"tag {name}\nfrom :{mark}\ntagger T <t@e.org> {at} +0000\ndata 1\nx\n"


def many_recipes(root: Path, count: int) -> list[str]:
    """A committed pipeline run with that many recipes that passed."""
    names = [f"r{number:03d}" for number in range(count)]
    made.STEPS.update({name: [{"quantize": {"scheme": "fp16"}}] for name in names})
    made.make_repository(root)
    made.write_run(root, recipes=tuple(names))
    made.commit_all(root)
    return names
