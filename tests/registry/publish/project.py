"""A project with a real registry history, made through the registry's own door, with small files as models."""

import hashlib
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from tests.documents import device
from weighbridge.core.files import sha256_bytes
from weighbridge.registry.state.events import Event, EventKind
from weighbridge.registry.state.records import CanaryPlan, Channels, Pointer, VersionRecord
from weighbridge.registry.state.store import Store, pointer_to, render
from weighbridge.registry.state.tip import Draft, Settings, Tip
from weighbridge.registry.trust.registry_policy import RegistryPolicy, read_policy
from weighbridge.registry.trust.signing import sign

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def git(root: Path, *arguments: str) -> str:
    """Run git in a folder and return what it printed."""
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def digest_of(text: str) -> str:
    """Some digest, a function of a text."""
    return sha256_bytes(text.encode())


def estimate(value: float, unit: str, spread: float = 0.0, baseline: float | None = None) -> dict[str, Any]:
    """A metric with an interval of plus or minus a share of it."""
    bounds = {"lower": value * (1 - spread), "upper": value * (1 + spread)}
    return {"value": value, **bounds, "unit": unit, "baseline": baseline}


@dataclass
class Project:
    """A git repository with a model registry, and a clock that goes an hour with every change."""

    root: Path
    model: str = "fashion-cnn"
    key: object = None
    now: datetime = START
    contents: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        git(self.root, "init", "--quiet", "--initial-branch", "main")
        git(self.root, "config", "user.name", "Registry Test")
        git(self.root, "config", "user.email", "registry@example.org")
        (self.root / ".gitignore").write_text("artifacts/\n.weighbridge/\n")
        git(self.root, "add", ".gitignore")
        git(self.root, "commit", "--quiet", "-m", "start")

    def store(self) -> Store:
        """The registry's door, without a remote, on this project's clock."""
        return Store(self.root, Settings(push=False, clock=self._tick))

    def _tick(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now

    def artifact(
        self, recipe: str, content: bytes, params: int = 117_530, macs: int = 1_200_000, target: str = "onnxruntime"
    ) -> dict[str, Any]:
        """Write an artifact's bytes into the project; how a record names them."""
        path = f"artifacts/recipes/{recipe}/onnxruntime/model.onnx"
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)
        return {
            "target": target,
            "path": path,
            "digest": sha256_bytes(content),
            "bytes": len(content),
            "gzip": len(content) * 4 // 5,
            "zstd": len(content) * 3 // 4,
            "params": params,
            "macs": macs,
            "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "manifest": digest_of(f"manifest {recipe}"),
        }

    def record(
        self,
        version: str,
        recipe: str,
        content: bytes,
        *,
        event: int,
        at: str,
        metrics: dict[str, Any] | None = None,
        recipe_section: dict[str, Any] | None = None,
        **more: Any,
    ) -> VersionRecord:
        """A version's record; `more` overrides fields."""
        baseline = version.startswith("b")
        fields = {
            "model": self.model,
            "version": version,
            "kind": "baseline" if baseline else "compressed",
            "event": event,
            "at": at,
            "by": "Registry Test <registry@example.org>",
            "artifacts": [self.artifact(recipe, content)],
            "recipe_name": recipe,
            "recipe": {} if baseline else recipe_section or {"steps": [{"quantize": {"scheme": "static-int8"}}]},
            "metrics": metrics or {"size.bytes": estimate(len(content), "bytes")},
            "verdict": None if baseline else judgement(recipe),
            "baseline": None if baseline else {"version": "b1", "digest": digest_of("baseline")},
            "commit": git(self.root, "rev-parse", "HEAD"),
            "dvc_lock": digest_of("lock"),
            "params": digest_of("params"),
            "data": digest_of("data"),
            "code": digest_of("code"),
            "seed": 7,
            "device": None
            if baseline
            else device(
                device_class="ci-2core", runtimes={"python": "3.11.9", "numpy": "2.4.6", "onnxruntime": "1.32.0"}
            ).to_json(),
            "environment": {"python": "3.11.9", "torch": "2.13.0+cpu"},
            "licence": "Apache-2.0",
            "notes": "",
        }
        return VersionRecord.model_validate({**fields, **more})

    def add(
        self,
        recipe: str,
        content: bytes,
        *,
        channel: bool = True,
        metrics: dict[str, Any] | None = None,
        baseline: bytes | None = None,
        **more: Any,
    ) -> Event:
        """Record a version, signed if there is a key, and make it stable unless `channel` is false."""
        self.contents[recipe] = content

        def decide(tip: Tip, channels: Channels) -> Draft:
            number = channels.head.event + 1 if channels.head else 1
            at = tip.now.strftime("%Y-%m-%dT%H:%M:%SZ")
            records = []
            if baseline is not None:
                name = f"b{channels.baselines + 1}"
                records.append((self.record(name, "baseline", baseline, event=number, at=at), None))
            version = f"v{channels.versions + 1}"
            made = self.record(version, recipe, content, event=number, at=at, metrics=metrics, **more)
            statement = sign(made, sha256_bytes(render(made)), self.key) if self.key else None
            records.append((made, statement))
            kind = EventKind.PROMOTED if channel else EventKind.RECORDED
            return Draft(kind, f"promote {version}", records=tuple(records), target_is_new=True, reason="it passed")

        return self.store().change(self.model, decide).event

    def move(self, kind: EventKind, version: str | None = None, *, quarantine: bool = False, **more: Any) -> Event:
        """One change of the channels."""

        def decide(tip: Tip, channels: Channels) -> Draft:
            target = pointer_to(tip, self.model, version)
            left = ()
            if quarantine:
                place = channels.canary if kind is EventKind.CANARY_ABORTED else channels.stable
                left = (Pointer(version=place.version, digest=place.digest, record=place.record),)
            plan = CanaryPlan() if kind is EventKind.CANARY_STARTED else None
            return Draft(kind, f"{kind} {version}", target=target, quarantine=left, plan=plan, **more)

        return self.store().change(self.model, decide).event

    def history(self) -> Self:
        """v1 stable, v2 through a canary, v2 rolled back and quarantined, v3 recorded and on canary."""
        fp32 = b"fp32 weights " * 40
        self.add("int8", b"int8 weights " * 10, baseline=fp32)
        self.add("pruned-int8", b"pruned " * 9, channel=False)
        self.move(EventKind.CANARY_STARTED, "v2", reason="smaller")
        self.move(EventKind.CANARY_ADVANCED, "v2", step=1, reason="1,204 requests, no budget touched")
        self.move(EventKind.PROMOTED, "v2")
        self.move(EventKind.ROLLED_BACK, "v1", quarantine=True, reason="boots are read as bags")
        self.add("share4", b"shared " * 5, channel=False)
        self.move(EventKind.CANARY_STARTED, "v3", reason="smaller still")
        return self

    @property
    def policy(self) -> RegistryPolicy:
        """The policy of the checked-out state."""
        return read_policy(self.store().git and _Tree(self.root))


class _Tree:
    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes | None:
        file = self.root / path
        return file.read_bytes() if file.exists() else None


def judgement(recipe: str) -> dict[str, Any]:
    """A verdict that let a recipe in."""
    return {
        "verdict": "pass",
        "digest": digest_of(f"verdict {recipe}"),
        "file": digest_of("verdicts"),
        "policy": digest_of("policy"),
        "measurement": digest_of(f"measurement {recipe}"),
        "device": "ci-2core",
        "budgets": [
            {
                "metric": "size.bytes",
                "against": None,
                "rule": "max",
                "limit": 250_000.0,
                "unit": "bytes",
                "estimate": 123_120.0,
                "lower": 123_120.0,
                "upper": 123_120.0,
                "verdict": "pass",
                "reason": "within the limit",
                "required": True,
            }
        ],
    }
