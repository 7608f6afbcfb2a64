"""Devices and verdicts as the program writes them, for every test that needs one."""

import hashlib
from typing import Any

from weighbridge.core.documents import Device, GateVerdict, RecipeVerdict, Verdict


def digest(name: str) -> str:
    """A digest that belongs to a name."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def device(**changes: str | dict[str, str]) -> Device:
    """Some machine."""
    content = {
        "device_class": "test",
        "cpu": "Example CPU @ 2.00GHz",
        "isa": ["avx2"],
        "cores": 2,
        "memory_bytes": 8_000_000_000,
        "system": "Linux 6.1 x86_64",
        "runtimes": {"onnxruntime": "1.32.0", "python": "3.11.9"},
        "fingerprint": digest("device"),
    }
    return Device(**content | changes)


def recipe_verdict(verdict: Verdict = Verdict.PASS, budgets: Any = (), **changes: Any) -> RecipeVerdict:
    """Of one recipe, by these verdicts of budgets."""
    content = {
        "verdict": verdict,
        "baseline": {"digest": digest("baseline")},
        "candidate": {"digest": digest("candidate")},
        "device": "test",
        "device_fingerprint": digest("device"),
        "measurement": digest("measurement"),
        "budgets": list(budgets),
    }
    return RecipeVerdict(**content | changes)


def gate_verdict(recipes: dict[str, RecipeVerdict], verdict: Verdict = Verdict.PASS, **changes: Any) -> GateVerdict:
    """Over recipes by name."""
    content = {"verdict": verdict, "model": "net", "device": "test", "policy": digest("policy"), "recipes": recipes}
    return GateVerdict(**content | changes)
