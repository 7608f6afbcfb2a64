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
from weighbridge.registry.publish.manifests import STORE, VOLUME, Options, Traffic, init_container, metadata
from weighbridge.registry.publish.oci_reference import SCHEME

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
    model: dict[str, Any] = {"modelFormat": {"name": known.kserve}}
    if options.init_image is None:
        model["storageUri"] = _known(traffic.newest.uri)
    else:
        predictor["initContainers"] = [init_container(traffic, options)]
        predictor["volumes"] = [{"name": VOLUME, "emptyDir": {}}]
        model["volumeMounts"] = [{"name": VOLUME, "mountPath": STORE, "readOnly": True}]
    predictor["model"] = model
    return {
        "apiVersion": API_VERSION,
        "kind": "InferenceService",
        "metadata": metadata(traffic, options),
        "spec": {"predictor": predictor},
    }


def _known(uri: str) -> str:
    """A place that KServe's storage initializer reads; of images (`oci://`) it expects another layout than ours."""
    if uri.startswith(SCHEME):
        raise InputError(
            "KServe does not read models from an OCI registry in this form",
            where="--storage-uri",
            fix="--init-image IMAGE",
        )
    return uri
