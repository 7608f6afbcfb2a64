"""Levers at what governs the gate: libraries, DVC's settings, workflows, policy, waivers, its own code."""

from __future__ import annotations

from levers_cases.case import Lever, both, document, gated, refused, relock, replace, write
from levers_cases.repository import WORKFLOW

_WAIVER = "budget: size.bytes\npolicy: true\nto: '2'\nwho: a\nwhy: b\nexpires: 2030-01-01\n"
_LOCK = "requirements-weighbridge.txt"
_VENDORED = both(
    write("weighbridge/__init__.py", "a = 0\n"),
    write("weighbridge/ci/change_gate.py", "a = 0\n"),
)

LEVERS: tuple[Lever, ...] = (
    gated("the lock of libraries", replace(_LOCK, "weighbridge[", "numpy==2.0\nweighbridge["), f"{_LOCK} differs"),
    gated(
        "a list that the lock includes",
        write("locks/all.txt", "numpy==1\n"),
        "locks/all.txt differs",
        both(write(_LOCK, "-r locks/all.txt\n"), write("locks/all.txt", "numpy==2\n"), relock),
    ),
    gated(
        "a wheel that the lock names",
        write("wheels/own.whl", "b"),
        "wheels/own.whl differs",
        both(write(_LOCK, "./wheels/own.whl\n"), write("wheels/own.whl", "a"), relock),
    ),
    gated(
        "a package of the repository that the lock names",
        write("own/code.py", "b"),
        "own differs",
        both(write(_LOCK, "-e ./own\n"), write("own/code.py", "a"), relock),
    ),
    gated(
        "dependencies in pyproject.toml",
        write("pyproject.toml", "[project]\ndependencies = ['numpy<2']\n"),
        "pyproject.toml differs",
    ),
    gated("a lock of another tool", write("uv.lock", "numpy 1\n"), "uv.lock differs"),
    gated("constraints", write("constraints.txt", "onnxruntime<1.20\n"), "constraints.txt differs"),
    gated("the version of Python", write(".python-version", "3.13\n"), ".python-version differs"),
    gated("DVC's remote", replace(".dvc/config", "remote", "remoter"), ".dvc/config differs"),
    gated("what DVC ignores", write(".dvcignore", "*.npz\n"), ".dvcignore differs"),
    gated("line ends of a dependency", write(".gitattributes", "*.py text eol=crlf\n"), ".gitattributes differs"),
    gated(
        "the workflow of the gate",
        replace(".github/workflows/gate.yml", "weighbridge ci gate", "weighbridge ci gate || true"),
        "gate.yml differs",
    ),
    gated(
        "another workflow that runs the gate",
        write(".github/workflows/extra.yml", WORKFLOW.format(name="x", run="weighbridge ci gate --everything")),
        "extra.yml differs",
    ),
    gated(
        "an action that workflows use",
        write(".github/actions/set-up/action.yml", "runs: {using: composite}\n"),
        "action.yml differs",
    ),
    gated(
        "another CI system's file",
        write(".gitlab-ci.yml", "gate: {script: [weighbridge ci gate]}\n"),
        ".gitlab-ci.yml differs",
    ),
    gated(
        "the policy of the registry",
        write("registry.policy.yaml", "schema_version: 1\npromoters: [a]\n"),
        "registry.policy.yaml differs",
    ),
    gated("a waiver", write("waivers/a.yaml", _WAIVER), "waivers/a.yaml differs"),
    gated(
        "the gate's own code", write("weighbridge/ci/change_gate.py", "a = 1\n"), "change_gate.py differs", _VENDORED
    ),
    gated(
        "settings of weighing", document("params.yaml", lambda c: c["weighing"].update(threads=4)), "weighing differs"
    ),
    refused(
        "the harness of a device",
        write("harness.sh", "echo 2\n"),
        r"- harness\.sh`",
        both(
            write("harness.sh", "echo 1\n"),
            document(
                "params.yaml",
                lambda c: c.update(
                    devices={"local": {}, "board": {"command": ["./harness.sh"], "device_class": "board"}}
                ),
            ),
        ),
    ),
)
