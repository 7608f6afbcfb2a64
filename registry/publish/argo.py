"""An Argo Rollout from the channels.

Source: `argoproj.io/v1alpha1` as Argo Rollouts 1.10 publishes it. The registry decides, Argo Rollouts obeys: the one
step sets the canary's present share and pauses without end. When the canary advances, the manifest is rendered
again; Argo Rollouts sees other steps, starts them over and arrives at the new share. When it has become stable, the
manifest has no steps and the rollout completes; after a roll-back the template is the stable one again, which Argo
Rollouts takes as an abort.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from weighbridge.core.errors import InputError
from weighbridge.registry.publish.manifests import STORE, VOLUME, Options, Traffic, init_container, metadata
from weighbridge.registry.publish.model_repository import model_path

API_VERSION = "argoproj.io/v1alpha1"


def rollout(traffic: Traffic, options: Options) -> dict[str, Any]:
    """The object as plain values. The container learns its model from `MODEL_URI`, `MODEL_VERSION`, `MODEL_DIGEST`, and
    `MODEL_PATH` where an init container has put it there.

    No image is an `InputError`: only the user knows what serves the model.
    """
    if not options.image:
        raise InputError("a Rollout needs the image that serves the model", fix="--image NAME[@sha256:…]")
    if options.replicas < 1:
        raise InputError(f"{options.replicas} replicas serve nothing", where="--replicas")
    canary: dict[str, Any] = {"maxSurge": 1, "maxUnavailable": 0}
    if traffic.weight is not None:
        canary["steps"] = [{"setWeight": traffic.weight}, {"pause": {}}]
    newest = traffic.newest
    container: dict[str, Any] = {
        "name": "model",
        "image": options.image,
        "env": [
            {"name": "MODEL_URI", "value": newest.uri},
            {"name": "MODEL_VERSION", "value": newest.version},
            {"name": "MODEL_DIGEST", "value": newest.digest},
        ],
        "ports": [{"containerPort": options.port, "name": "http"}],
    }
    pod: dict[str, Any] = {"containers": [container]}
    if options.init_image is not None:
        path = str(PurePosixPath(STORE, model_path(traffic.model, newest.target)))
        container["env"] += [{"name": "MODEL_PATH", "value": path}]
        container["volumeMounts"] = [{"name": VOLUME, "mountPath": STORE, "readOnly": True}]
        pod["initContainers"] = [init_container(traffic, options)]
        pod["volumes"] = [{"name": VOLUME, "emptyDir": {}}]
    selector = {"app.kubernetes.io/name": traffic.name}
    return {
        "apiVersion": API_VERSION,
        "kind": "Rollout",
        "metadata": metadata(traffic, options),
        "spec": {
            "replicas": options.replicas,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": dict(selector)}, "spec": pod},
            "strategy": {"canary": canary},
        },
    }
