"""A KServe InferenceService from the channels.

Source: `serving.kserve.io/v1beta1` as KServe 0.20 publishes it. `canaryTrafficPercent` needs KServe's serverless mode
(Knative); there the rest of the traffic goes to the last revision that was rolled out fully, which is why the file
without the canary has to be applied, and rolled out, first. KServe compares no digest: name immutable places in
`--storage-uri`.
"""

from __future__ import annotations

from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.core.facts.targets import TARGETS
from weighbridge.registry.publish.manifests import Options, Traffic, metadata

API_VERSION = "serving.kserve.io/v1beta1"


def inference_service(traffic: Traffic, options: Options) -> dict[str, Any]:
    """The object as plain values: `storageUri` is the newest version's, the canary's share `canaryTrafficPercent`.

    An artifact that no runtime of KServe's serves is an `InputError`.
    """
    known = TARGETS.get(traffic.newest.target)
    if known is None or known.kserve is None:
        served = " or ".join(row.name for row in TARGETS.values() if row.kserve is not None)
        raise InputError(
            f"KServe has no model format for {traffic.newest.target}",
            where="--for kserve",
            fix=f"--target {served}, or --for argo with an image that serves it",
        )
    predictor: dict[str, Any] = {}
    if traffic.weight is not None:
        predictor["canaryTrafficPercent"] = traffic.weight
    predictor["model"] = {"modelFormat": {"name": known.kserve}, "storageUri": traffic.newest.uri}
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceService",
        "metadata": metadata(traffic, options),
        "spec": {"predictor": predictor},
    }
