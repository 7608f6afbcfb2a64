"""The one table of metrics: each owns its unit, its direction and the kind of evidence it rests on."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal

from weighbridge.core.errors import InputError
from weighbridge.core.facts.quantities import Unit

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

_OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


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
