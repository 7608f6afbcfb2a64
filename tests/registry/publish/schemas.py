"""The part of the published CRD schemas that the manifests use, closed: a key that the CRD lacks is refused.

Written by hand after `config/crd/full/serving.kserve.io_inferenceservices.yaml` of kserve/kserve (commit aaac4e294dae,
KServe 0.20) and `manifests/crds/rollout-crd.yaml` of argoproj/argo-rollouts (commit 9f8d111d8f8e, Argo Rollouts 1.10).
"""

STRING = {"type": "string"}
INT32 = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
INT64 = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
# Kubernetes itself: names are RFC 1123 labels, label values have at most 63 characters of a small alphabet.
LABEL_VALUE = {"type": "string", "maxLength": 63, "pattern": r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"}
LABELS = {"type": "object", "additionalProperties": LABEL_VALUE}


def closed(required=(), **properties):
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


METADATA = closed(
    ["name"],
    name={"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
    namespace={"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
    labels=LABELS,
    annotations={
        "type": "object",
        "propertyNames": {"pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"},
        "additionalProperties": STRING,
    },
)

INFERENCE_SERVICE = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "serving.kserve.io/v1beta1"},
    kind={"const": "InferenceService"},
    metadata=METADATA,
    spec=closed(
        ["predictor"],
        predictor=closed(
            canaryTrafficPercent={**INT64, "minimum": 0, "maximum": 100},
            minReplicas=INT32,
            model=closed(
                modelFormat=closed(["name"], name=STRING, version=STRING),
                storageUri=STRING,
                runtime=STRING,
                protocolVersion=STRING,
            ),
        ),
    ),
)

_CONTAINER = closed(
    ["name"],
    name=STRING,
    image=STRING,
    env={"type": "array", "items": closed(["name"], name=STRING, value=STRING)},
    ports={"type": "array", "items": closed(["containerPort"], containerPort=INT32, name=STRING)},
)

ROLLOUT = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "argoproj.io/v1alpha1"},
    kind={"const": "Rollout"},
    metadata=METADATA,
    spec=closed(
        replicas=INT32,
        revisionHistoryLimit=INT32,
        selector=closed(matchLabels={"type": "object", "additionalProperties": STRING}),
        template=closed(
            metadata=closed(labels=LABELS),
            spec=closed(["containers"], containers={"type": "array", "minItems": 1, "items": _CONTAINER}),
        ),
        strategy=closed(
            canary=closed(
                maxSurge=INT_OR_STRING,
                maxUnavailable=INT_OR_STRING,
                steps={
                    "type": "array",
                    "items": {
                        **closed(
                            setWeight={**INT32, "minimum": 0, "maximum": 100}, pause=closed(duration=INT_OR_STRING)
                        ),
                        "maxProperties": 1,
                        "minProperties": 1,
                    },
                },
            )
        ),
    ),
)
