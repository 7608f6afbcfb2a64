"""The one table of metrics: each owns its unit, its direction and the kind of evidence it rests on."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any, Literal

from weighbridge.core.errors import InputError

Unit = Literal["bytes", "seconds", "count", "fraction", "per_second", "joules", "score"]
Kind = Literal["exact", "launches", "examples"]


@dataclass(frozen=True)
class Metric:
    """One quantity that the gate can weigh."""

    name: str
    title: str
    unit: Unit
    better: Literal["lower", "higher"]
    kind: Kind
    """`exact`: a fact of the file. `launches`: noisy, one value per fresh process. `examples`: over a data set."""


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("size.bytes", "file size", "bytes", "lower", "exact"),
        Metric("size.gzip", "file size, gzip", "bytes", "lower", "exact"),
        Metric("size.zstd", "file size, zstd", "bytes", "lower", "exact"),
        Metric("params", "parameters", "count", "lower", "exact"),
        Metric("macs", "multiply-accumulates per example", "count", "lower", "exact"),
        Metric("latency.p50", "latency, median", "seconds", "lower", "launches"),
        Metric("latency.p95", "latency, 95th percentile", "seconds", "lower", "launches"),
        Metric("latency.p99", "latency, 99th percentile", "seconds", "lower", "launches"),
        Metric("latency.end_to_end", "latency with pre- and postprocess, median", "seconds", "lower", "launches"),
        Metric("cold_start", "load and first inference", "seconds", "lower", "launches"),
        Metric("throughput", "examples per second", "per_second", "higher", "launches"),
        Metric("latency.first_token", "time to the first token, median", "seconds", "lower", "launches"),
        Metric("latency.next_token", "time to each next token, median", "seconds", "lower", "launches"),
        Metric("tokens_per_second", "tokens generated per second", "per_second", "higher", "launches"),
        Metric("memory.peak", "peak memory of a fresh process", "bytes", "lower", "launches"),
        Metric("energy", "energy per inference", "joules", "lower", "launches"),
        Metric("accuracy.top1", "top-1 accuracy", "fraction", "higher", "examples"),
        Metric("accuracy.worst_slice", "top-1 accuracy, worst slice", "fraction", "higher", "examples"),
        Metric("accuracy.flips", "right before, wrong now", "fraction", "lower", "examples"),
        Metric("accuracy.top5", "top-5 accuracy", "fraction", "higher", "examples"),
        Metric("accuracy.f1", "F1, macro average", "score", "higher", "examples"),
        Metric("accuracy.auc", "area under the ROC curve", "score", "higher", "examples"),
        Metric("accuracy.mae", "mean absolute error", "score", "lower", "examples"),
        Metric("accuracy.tokens", "token accuracy, padding left out", "fraction", "higher", "examples"),
        Metric("accuracy.miou", "mean intersection over union of pixels", "score", "higher", "examples"),
        Metric("accuracy.map", "mean average precision of boxes, IoU 0.50 to 0.95", "score", "higher", "examples"),
        Metric("lm.nll", "bits per token (per byte for a model of bytes)", "score", "lower", "examples"),
        Metric("lm.perplexity", "perplexity per token", "score", "lower", "examples"),
        Metric("lm.kld", "KL divergence from the baseline, nats per token", "score", "lower", "examples"),
        Metric(
            "lm.kld.p99", "KL divergence from the baseline, 99th percentile of tokens", "score", "lower", "examples"
        ),
        Metric("lm.kld.max", "KL divergence from the baseline, largest of these tokens", "score", "lower", "examples"),
        Metric("lm.same_top", "same likeliest token as the baseline", "fraction", "higher", "examples"),
        Metric("agreement", "agreement with the baseline, by the task", "fraction", "higher", "examples"),
        Metric("agreement.cosine", "cosine to the baseline's embeddings", "score", "higher", "examples"),
        Metric("agreement.recall", "the baseline's ten nearest found", "fraction", "higher", "examples"),
        Metric("agreement.rank", "rank correlation of pairs, with the baseline", "score", "higher", "examples"),
        Metric("agreement.outputs", "the other outputs' cosine to the baseline's", "score", "higher", "examples"),
    )
}

_SCALE: dict[Unit, dict[str, float]] = {
    "bytes": {
        "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9,
        "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30,
    },
    "seconds": {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60, "h": 3600},
    "count": {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9},
    "fraction": {"%": 1e-2},
    "per_second": {"/s": 1, "k/s": 1e3},
    "joules": {"J": 1, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6},
    "score": {},
}  # fmt: skip
_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ%/]*)\s*")


def find_metric(name: str) -> Metric:
    """The metric of that name; an unknown name is an `InputError` with a suggestion.

    `module:callable` is a user's own metric over examples, taken as a score where higher is better.
    """
    if name in METRICS:
        return METRICS[name]
    if _OWN.fullmatch(name):
        return Metric(name, name, "score", "higher", "examples")
    close = difflib.get_close_matches(name, METRICS, n=1)
    fix = f"did you mean {close[0]!r}?" if close else f"metrics: {', '.join(METRICS)}"
    raise InputError(f"unknown metric {name!r}", fix=fix)


def parse_quantity(value: float | str, unit: Unit, *, needs_unit: bool = False) -> float:
    """A number in the unit's base form: `200kB` → 200000.0 bytes, `5ms` → 0.005 seconds, `1%` → 0.01.

    Plain numbers are in base units; with `needs_unit`, times and bytes without a unit are refused. A unit of another
    kind, NaN and infinities are a `ValueError`.
    """
    if isinstance(value, bool):
        raise ValueError(f"expected a number of {unit}")  # noqa: TRY004  # pydantic turns it into one clear line
    if isinstance(value, int | float):
        number, suffix = float(value), ""
    else:
        match = _QUANTITY.fullmatch(value)
        if not match:
            raise ValueError(f"expected a number with an optional unit ({_examples(unit)})")
        number, suffix = float(match[1]), match[2]
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124  # NaN
        raise ValueError("expected a finite number")
    if suffix and suffix not in _SCALE[unit]:
        raise ValueError(f"the unit {suffix!r} does not measure {unit} ({_examples(unit)})")
    if needs_unit and not suffix and unit in ("bytes", "seconds"):
        raise ValueError(f"expected a number with its unit ({_examples(unit)})")
    return number * _SCALE[unit].get(suffix, 1)


def is_plain(value: Any) -> bool:
    """Whether a value is a number, or text that reads as one: without a unit."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*[+-]?[\d.]+([eE][+-]?\d+)?\s*", value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_duration(value: Any, key: str) -> None:
    """Raise `ValueError` with the line to write where a time is a plain number, which may mean anything."""
    if is_plain(value):
        raise ValueError(f"{key} needs a unit: write `{key}: {str(value).strip()}s` for seconds")


def _examples(unit: Unit) -> str:
    suffixes = ", ".join(f"1{suffix}" for suffix in _SCALE[unit])
    return f"such as {suffixes}" if suffixes else "a plain number"
