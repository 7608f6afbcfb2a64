"""What the operators' page asks of a Prometheus: a column of figures for each version that serves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from weighbridge.core.errors import InputError

PREFIX = "prometheus="


@dataclass(frozen=True)
class Column:
    """One figure of each version."""

    title: str
    unit: str
    """`rate`, `share` or `seconds`: how the page writes it."""
    query: str
    """PromQL, with `$model` for the model's name; its answer has one value for each label `version`."""


_OF = '{model="$model"}[5m]'
_BY = "sum by (version)"


def _ratio(part: str, whole: str) -> str:
    return f"{_BY} (rate({part}{_OF})) / {_BY} (rate({whole}{_OF}))"


COLUMNS = (
    Column("requests a second", "rate", f"{_BY} (rate(weighbridge_requests_total{_OF}))"),
    Column("errors", "share", _ratio("weighbridge_errors_total", "weighbridge_requests_total")),
    *(
        Column(
            f"latency p{share}",
            "seconds",
            f"histogram_quantile(0.{share}, sum by (version, le) (rate(weighbridge_latency_seconds_bucket{_OF})))",
        )
        for share in (50, 95)
    ),
    Column("labels right", "share", _ratio("weighbridge_correct_total", "weighbridge_labelled_total")),
    Column("unlike stable", "share", _ratio("weighbridge_disagreed_total", "weighbridge_compared_total")),
)
AGE = 'max(weighbridge_registry_age_seconds{model="$model"})'
"""How old the state is that serves."""
PROBLEM = 'max(weighbridge_registry_problem{model="$model"})'
"""Whether it is not the registry's newest."""


def prometheus_url(text: str) -> str:
    """The address in `prometheus=URL`; anything else is an `InputError`."""
    url = text.removeprefix(PREFIX).rstrip("/")
    parts = urlsplit(url)
    plain = re.fullmatch(r"[a-z0-9.:/_~\[\]-]+", url, re.IGNORECASE)
    if not text.startswith(PREFIX) or parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise InputError(f"{text!r} is not the address of a Prometheus", where="--metrics", fix="prometheus=URL")
    return url
