"""Records with everything in them: metrics with intervals, odd names, notes that try to be markup."""

from collections.abc import Sequence
from typing import Any

from tests.registry.publish.project import estimate

UNTRUSTED = "<script>alert(1)</script> | [x](javascript:alert(1)) `a` **b** \"q\" & 'r'"


def metrics(
    size: int, accuracy: float, latency: float, *, baseline: Sequence[float] = (471_985, 0.8939, 157e-6)
) -> dict[str, dict[str, Any]]:
    """What weighing gave: size, accuracy and latency beside the baseline's."""
    return {
        "size.bytes": estimate(size, "bytes", baseline=baseline[0]),
        "accuracy.top1": estimate(accuracy, "fraction", 0.004, baseline=baseline[1]),
        "latency.p50": estimate(latency, "seconds", 0.02, baseline=baseline[2]),
        "macs": estimate(1_200_000, "count", baseline=1_200_000),
    }
