"""Figures for other tools: CSV for `dvc plots`, nested numbers for `dvc metrics`. Absent values are left out."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from weighbridge.core.documents import Verdict
from weighbridge.gate.report.facts import Entry
from weighbridge.gate.report.phrases import named_budget


def trade_off_csv(entries: Sequence[Entry]) -> str:
    """One row per model: size, accuracy, latency beside the baseline's; the baseline itself first."""
    rows: list[list[Any]] = []
    for entry in entries:
        if entry.accuracy is not None:
            ratio = _number(entry.speed.ratio) if entry.speed else ""
            rows.append([entry.name, entry.size, _number(entry.accuracy[0]), ratio, entry.verdict.verdict.value])
    if rows:
        first = next(entry for entry in entries if entry.accuracy is not None)
        assert first.accuracy is not None
        rows.insert(0, ["baseline", first.baseline_size, _number(first.accuracy[1]), 1.0, "reference"])
    return _csv(("model", "size_bytes", "accuracy", "latency_ratio", "verdict"), rows)


def limits_csv(entries: Sequence[Entry]) -> str:
    """One row per budget with an estimate: limit, bounds, verdict."""
    rows = [
        [entry.name, named_budget(item), item.rule, item.limit, *map(_number, (item.lower, item.estimate, item.upper)),
         item.unit, item.verdict.value]
        for entry in entries
        for item in entry.verdict.budgets
        if item.estimate is not None
    ]  # fmt: skip
    return _csv(("model", "budget", "rule", "limit", "lower", "estimate", "upper", "unit", "verdict"), rows)


def launches_csv(entries: Sequence[Entry]) -> str:
    """One row per launch pair: candidate / baseline of median latency."""
    rows = [
        [entry.name, number, _number(math.exp(ratio))]
        for entry in entries
        if (found := entry.launches()) is not None
        for number, ratio in enumerate(found.log_ratio, start=1)
    ]
    return _csv(("model", "pair", "ratio"), rows)


def metrics(entries: Sequence[Entry], verdict: Verdict) -> dict[str, Any]:
    """The verdict on the whole, then numbers by recipe, as `dvc exp show` and `dvc metrics diff` lay them out."""
    return {"verdict": verdict.value, **{entry.name: _metrics(entry) for entry in entries}}


def _metrics(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "size": {"bytes": entry.size, "ratio": _number(entry.size / entry.baseline_size)},
        "verdict": entry.verdict.verdict.value,
    }
    for metric in ("size.gzip", "size.zstd", "params", "macs"):
        fact = entry.exact(metric)
        if fact is not None:
            group, _, name = metric.rpartition(".")
            (found.setdefault(group, {}) if group else found)[name] = int(fact.candidate)
    if entry.speed is not None:
        found["latency"] = {"p50_seconds": _number(entry.speed.candidate), "ratio": _number(entry.speed.ratio)}
    memory = entry.launches("memory.peak")
    if memory is not None:
        found["memory"] = {"peak_bytes": int(sorted(memory.candidate)[len(memory.candidate) // 2])}
    counted = entry.proportions()
    if entry.accuracy is not None and counted is not None:
        candidate, reference = entry.accuracy
        found["accuracy"] = {
            "top1": _number(candidate),
            "drop": _number(reference - candidate),
            "flips": _number(counted.only_reference / counted.examples),
        }
    return found


def _number(value: float | None) -> float | str:
    """Six significant digits: enough for people, few enough that noise does not fill a diff."""
    return "" if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
