"""The facts of a file: bytes as stored and compressed, parameters, multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterable

from weighbridge.core.documents import Absent, Evidence, Exact
from weighbridge.core.formats.compressed import level, taken
from weighbridge.gate.measure.model_files import Model


def facts(candidate: Model, reference: Model, asked: Iterable[str] = ()) -> dict[str, Evidence]:
    """Evidence of every exact metric. Compressed sizes of large files only where they are asked for by name."""
    found: dict[str, Evidence] = {"size.bytes": Exact(candidate=candidate.size, reference=reference.size)}
    larger = max(candidate.size, reference.size)
    for kind in taken(larger, [name.removeprefix("size.") for name in asked]):
        at = level(kind, larger)
        theirs = reference.compressed(kind, at)
        ours = theirs if candidate.digest == reference.digest else candidate.compressed(kind, at)
        found[f"size.{kind}"] = Exact(candidate=ours, reference=theirs)
    for key in ("params", "macs"):
        found[key] = _counted(key, candidate, reference)
    return found


def _counted(key: str, candidate: Model, reference: Model) -> Evidence:
    found = []
    for model in (reference, candidate):
        if isinstance(model.counts, str):
            return Absent(reason=f"not known for the {model.name}: {model.counts}")
        if key == "macs" and model.counts.unknown:
            return Absent(reason=f"cannot be computed for {', '.join(model.counts.unknown)} in the {model.name}")
        found.append(getattr(model.counts, key))
    return Exact(candidate=found[1], reference=found[0])
