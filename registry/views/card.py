"""A model card in Hugging Face's form: YAML metadata with a `model-index`, then markdown.

Source: the Hub's model card specification (`modelcard.md` of huggingface/hub-docs). Nothing is made up: what the
registry does not know (intended use, ethics) is not in the card, but for the notes that the promoter wrote. Text
that people wrote is escaped, so it can neither break out of a table nor become HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weighbridge.core.escaping import code, escape, fenced
from weighbridge.core.facts.targets import TARGETS
from weighbridge.core.files import dump_yaml
from weighbridge.core.formatting import quantity
from weighbridge.core.project import LOCK, PARAMS
from weighbridge.registry.state.records import Estimate, Judgement, VersionRecord
from weighbridge.registry.views.figures import change, in_order, interval, title

_METRIC_TYPES = {
    "accuracy.top1": "accuracy",
    "accuracy.top5": "top_5_accuracy",
    "accuracy.f1": "f1",
    "accuracy.auc": "roc_auc",
    "accuracy.mae": "mae",
}
# Licences that the Hub knows under the lower-case form of their SPDX identifier.
_HUB_LICENCES = (
    "Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0", "GPL-2.0", "GPL-3.0", "AGPL-3.0", "LGPL-3.0",
    "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "ISC", "Unlicense", "Zlib", "EPL-2.0", "ECL-2.0",
)  # fmt: skip


@dataclass(frozen=True)
class CardContext:
    """What the registry cannot know of a model, for those who do."""

    task: str = "other"
    """A task of the Hub, such as `image-classification`."""
    dataset: str | None = None
    """What the evaluation data is called; None: by its digest."""
    status: tuple[str, ...] = ()
    """Channels of the version, `quarantined`, `deprecated`."""


def card(record: VersionRecord, context: CardContext | None = None) -> str:
    """The card of a version: front matter and markdown, ending in a newline. A function of record and context."""
    known = context or CardContext()
    front = dump_yaml(metadata(record, known))
    sections = [
        _heading(record, known),
        _metrics(record),
        _budgets(record),
        _recipe(record),
        _lineage(record),
        _device(record),
    ]
    body = "\n\n".join(section for section in sections if section)
    return f"---\n{front}---\n\n{body}\n"


def metadata(record: VersionRecord, context: CardContext) -> dict[str, Any]:
    """The card's metadata, in the Hub's keys."""
    formats = [_library(item.target) for item in record.artifacts]
    techniques = [name for step in record.recipe.get("steps", []) if isinstance(step, dict) for name in step]
    targets = [item.target for item in record.artifacts]
    tags = [*formats, *targets, *(["compressed", *map(str, techniques)] if techniques else [])]
    found: dict[str, Any] = {**_licence(record.licence), "library_name": formats[0], "tags": list(dict.fromkeys(tags))}
    if context.task != "other":
        found["pipeline_tag"] = context.task
    if record.metrics:
        found["model-index"] = [{"name": record.model, "results": [_result(record, context)]}]
    return found


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {}
    if licence in _HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": licence}


def _result(record: VersionRecord, context: CardContext) -> dict[str, Any]:
    digest = record.data.removeprefix("sha256:")
    dataset = {
        "type": "custom" if context.dataset is None else context.dataset,
        "name": context.dataset or f"evaluation data {digest[:12]}",
        "split": "test",
        "revision": record.data,
    }
    metrics = []
    for name, estimate in in_order(record.metrics):
        entry: dict[str, Any] = {
            "type": _METRIC_TYPES.get(name, name),
            "name": f"{title(name)} ({estimate.unit})",
            "value": estimate.value,
        }
        if estimate.lower != estimate.upper:
            entry["args"] = {"confidence": 0.95, "lower": estimate.lower, "upper": estimate.upper}
        metrics.append(entry)
    return {"task": {"type": context.task}, "dataset": dataset, "metrics": metrics}


def _heading(record: VersionRecord, context: CardContext) -> str:
    files = [f"{quantity(item.bytes, 'bytes')} for {escape(item.target)}" for item in record.artifacts]
    form = "An ONNX file" if _library(record.artifacts[0].target) == "onnx" else "A file"
    what = f"{form} of {files[0]}" if len(files) == 1 else f"Files of {', '.join(files)}"
    kind = "the uncompressed baseline" if record.kind == "baseline" else f"recipe {code(record.recipe_name)}"
    lines = [f"# {escape(record.model)} {record.version}", ""]
    if "quarantined" in context.status:
        lines += ["> **Quarantined.** This version must not serve.", ""]
    if "deprecated" in context.status:
        lines += ["> **Deprecated.** Take another version.", ""]
    lines.append(f"{what}, {kind}, recorded {record.at[:10]} by {escape(record.by)}.")
    channels = [name for name in context.status if name in ("stable", "canary", "baseline")]
    if channels:
        lines.append(f"It is on {' and '.join(channels)}.")
    if record.notes.strip():
        lines += ["", "## Notes", "", escape(record.notes.strip())]
    lines += ["", "```", f"weighbridge registry pull {record.model}@{record.version}", "```"]
    return "\n".join(lines)


def _metrics(record: VersionRecord) -> str:
    if not record.metrics:
        return ""
    lines = [
        "## Measured",
        "",
        "| metric | value | 95% interval | baseline | change |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, estimate in in_order(record.metrics):
        cells = (
            escape(title(name)),
            quantity(estimate.value, estimate.unit),
            interval(estimate),
            _baseline(estimate),
            change(estimate),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _baseline(estimate: Estimate) -> str:
    return "–" if estimate.baseline is None else quantity(estimate.baseline, estimate.unit)


def _budgets(record: VersionRecord) -> str:
    if not record.verdicts:
        return ""
    several = len(record.verdicts) > 1
    parts = [_verdict(judged, f"{code(name)}: " if several else "") for name, judged in record.verdicts.items()]
    return "\n\n".join(["## Verdict", *parts])


def _verdict(judged: Judgement, whose: str) -> str:
    lines = [
        f"{whose}**{judged.verdict.value}**, judged on {escape(judged.device)} by policy {code(judged.policy[:19])}.",
        "",
        "| budget | verdict | limit | estimate |",
        "|---|---|--:|--:|",
    ]
    for budget in judged.budgets:
        against = f" against {escape(budget.against)}" if budget.against else ""
        estimate = "–" if budget.estimate is None else quantity(budget.estimate, budget.unit)
        said = f"{budget.verdict.value}{'' if budget.required else ' (advisory)'}"
        limit = f"{escape(budget.rule)} {quantity(budget.limit, budget.unit)}"
        lines.append(f"| {escape(budget.metric)}{against} | {said} | {limit} | {estimate} |")
    return "\n".join(lines)


def _recipe(record: VersionRecord) -> str:
    if not record.recipe:
        return ""
    return f"## Recipe\n\n{fenced(dump_yaml({record.recipe_name: record.recipe}), 'yaml')}"


def _lineage(record: VersionRecord) -> str:
    rows = [
        *((name, item.digest) for name, item in record.artifact_names.items()),
        ("commit", record.commit),
        ("data", record.data),
        ("code", record.code),
        (PARAMS, record.params),
        (LOCK, record.dvc_lock),
    ]
    if record.verdict:
        rows += [("verdict", record.verdict.digest), ("measurement", record.verdict.measurement)]
    for name, origin in (("baseline", record.baseline), ("teacher", record.teacher)):
        if origin is not None:
            version = f" ({origin.version})" if origin.version else ""
            rows.append((f"{name}{version}", origin.digest))
    lines = ["## Lineage", "", "| what | which |", "|---|---|"]
    return "\n".join([*lines, *(f"| {escape(name)} | {code(value)} |" for name, value in rows)])


def _device(record: VersionRecord) -> str:
    lines = ["## Made and weighed with", ""]
    if record.device is not None:
        device = record.device
        isa = ", ".join(map(escape, device.isa)) or "none recorded"
        where = f"{escape(device.device_class)}: {escape(device.cpu)}, {device.cores} cores, {escape(device.system)}"
        lines += [
            f"Weighed on {where}; instruction sets {isa}.",
            "Latency holds for this device; integer kernels can answer differently on other instruction sets.",
            "",
        ]
    versions = ", ".join(f"{escape(name)} {escape(value)}" for name, value in record.environment.items())
    return "\n".join([*lines, f"Made with {versions or 'nothing recorded'}; seed {record.seed}."])


def _library(target: str) -> str:
    """What the Hub calls files of a target; a target that this version does not know goes by its name."""
    row = TARGETS.get(target)
    return target if row is None or row.library is None else row.library
