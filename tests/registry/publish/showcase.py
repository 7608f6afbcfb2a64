"""A registry worth looking at: two models, a dozen versions, a canary, a roll-back."""

from pathlib import Path

from tests.registry.publish.project import Project
from tests.registry.publish.richproject import UNTRUSTED, metrics
from weighbridge.registry.state.events import EventKind

# Recipe, bytes, top-1, latency: the order of magnitude that tools reach on a small CNN.
ROWS = [
    ("fp16", 237_111, 0.8939, 158e-6),
    ("int8-static", 123_120, 0.8935, 131e-6),
    ("pruned-int8", 121_402, 0.8893, 130e-6),
    ("slim", 120_649, 0.8925, 69e-6),
    ("slim-int8", 34_639, 0.8922, 104e-6),
    ("share-4bit", 66_310, 0.8861, 157e-6),
    ("share-3bit", 52_020, 0.8390, 157e-6),
    ("slim-int8-distilled", 33_980, 0.8941, 103e-6),
    ("tiny", 18_202, 0.8704, 48e-6),
]


def showcase(root: Path) -> Project:
    """Write it to `root`; the project."""
    project = Project(root)
    baseline = b"\x00" * 471_985
    for position, (recipe, size, accuracy, latency) in enumerate(ROWS):
        project.add(
            recipe,
            bytes([position + 1]) * size,
            channel=position in (0, 1),
            baseline=baseline if position == 0 else None,
            metrics=metrics(size, accuracy, latency),
            notes=UNTRUSTED if recipe == "tiny" else "",
            recipe_section={
                "steps": [
                    {"prune": {"method": "structured", "ratio": 0.5, "finetune": {"epochs": 3}}},
                    {"quantize": {"scheme": "qat-int8"}},
                ]
            },
        )
    project.move(EventKind.CANARY_STARTED, "v3", reason="smaller by a hair")
    project.move(EventKind.CANARY_ABORTED, "v3", quarantine=True, reason="disagrees with stable on 4.1 % of requests")
    project.move(EventKind.CANARY_STARTED, "v5", reason="a quarter of the size")
    project.move(EventKind.CANARY_ADVANCED, "v5", step=1, reason="1,204 requests, no budget touched")
    project.move(EventKind.PROMOTED, "v5", reason="two days without a complaint")
    project.move(EventKind.ROLLED_BACK, "v2", quarantine=False, reason="boots are read as bags since Tuesday")
    project.move(EventKind.DEPRECATED, "v1", reason="use v2")
    project.move(EventKind.CANARY_STARTED, "v8", reason="distilled, boots are right again")
    project.move(EventKind.CANARY_ADVANCED, "v8", step=1, reason="2,118 requests; latency 0.66 of stable")
    other = Project.__new__(Project)
    other.__dict__.update(project.__dict__, model="syllables")
    other.add("int8", b"s" * 9_000, baseline=b"S" * 30_000)
    return project
