"""The page of one version: the facts of its model card."""

from __future__ import annotations

from weighbridge.core.files import dump_yaml
from weighbridge.core.formatting import quantity
from weighbridge.core.project import LOCK, PARAMS
from weighbridge.registry.site.markup import Child, Markup, tag, text
from weighbridge.registry.site.parts import badges, digest, facts, heading, metrics_table, number, page, table, when
from weighbridge.registry.state.records import Judgement, VersionRecord
from weighbridge.registry.state.snapshot import ModelState


def version_page(state: ModelState, version: str) -> str:
    """One version: the model card's facts."""
    record = state.records[version]
    status = state.status(version)
    trail = [("Registry", "../index.html"), (state.name, "index.html"), (version, None)]
    body = (
        tag("h1", f"{state.name} ", tag("span", version, class_="version"), " ", badges(status)),
        _summary(record),
        _warning(state, version),
        tag("p", record.notes, class_="notes") if record.notes.strip() else None,
        metrics_table(record) if record.metrics else tag("p", "Nothing was measured of this version."),
        _verdict_section(record),
        _recipe_section(record),
        _lineage_section(state, record),
        _device_section(record),
    )
    return page(f"{state.name}@{version} · model registry", trail, body, up="../")


def _summary(record: VersionRecord) -> Markup:
    sizes = ", ".join(f"{quantity(item.bytes, 'bytes')} for {item.target}" for item in record.artifacts)
    what = "The uncompressed baseline" if record.kind == "baseline" else text("Recipe ", tag("b", record.recipe_name))
    return tag(
        "p",
        what,
        f", {sizes}, recorded ",
        when(record.at),
        f" by {record.by}. ",
        tag("a", "Model card", href=f"{record.version}.card.md"),
        " · ",
        tag("a", "CycloneDX bill of materials", href=f"{record.version}.cdx.json"),
        class_="lead",
    )


def _warning(state: ModelState, version: str) -> Markup | None:
    channels = state.channels
    if version in channels.quarantined:
        return tag("p", tag("strong", "Quarantined."), " This version must not serve.", class_="warning")
    if version in channels.deprecated:
        return tag("p", tag("strong", "Deprecated."), f" {channels.deprecated[version]}", class_="warning")
    return None


def _verdict_section(record: VersionRecord) -> Markup | None:
    if not record.verdicts:
        return None
    several = len(record.verdicts) > 1
    tables = [
        _verdict_table(f"{name}, judged on {judged.device}" if several else f"Judged on {judged.device}", judged)
        for name, judged in record.verdicts.items()
    ]
    return tag("section", heading(2, "Verdict", "verdict"), *tables)


def _verdict_table(caption: str, judged: Judgement) -> Markup:
    rows = [
        tag(
            "tr",
            tag(
                "th", budget.metric, tag("small", f"against {budget.against}") if budget.against else None, scope="row"
            ),
            tag("td", tag("span", budget.verdict.value, class_=f"badge {budget.verdict.value}")),
            number(text(tag("small", f"{budget.rule} "), quantity(budget.limit, budget.unit)), None),
            number("–" if budget.estimate is None else quantity(budget.estimate, budget.unit), None),
            tag("td", budget.reason if budget.required else f"{budget.reason} (advisory)"),
        )
        for budget in judged.budgets
    ]
    return table(caption, ("budget", "verdict", "#limit", "#estimate", "why"), rows)


def _recipe_section(record: VersionRecord) -> Markup | None:
    if not record.recipe:
        return None
    source = dump_yaml({record.recipe_name: record.recipe})
    return tag("section", heading(2, "Recipe", "recipe"), tag("pre", tag("code", source), tabindex="0"))


def _lineage_section(state: ModelState, record: VersionRecord) -> Markup:
    rows: list[tuple[str, Child]] = [
        *((name, digest(item.digest)) for name, item in record.artifact_names.items()),
        ("commit", tag("code", record.commit)),
        ("data", digest(record.data)),
        ("code", digest(record.code)),
        (PARAMS, digest(record.params)),
        (LOCK, digest(record.dvc_lock)),
    ]
    if record.verdict:
        rows += [("verdict", digest(record.verdict.digest)), ("measurement", digest(record.verdict.measurement))]
    signature = state.entries[record.version].signature
    rows.append(("signed statement", digest(signature) if signature else "none: this version is not signed"))
    for name, origin in (("baseline", record.baseline), ("teacher", record.teacher)):
        if origin is not None:
            known = origin.version in state.records
            link = tag("a", origin.version or "", href=f"{origin.version}.html") if known else origin.version
            rows.append((name, text(link, " " if link else None, digest(origin.digest))))
    return tag("section", heading(2, "Lineage", "lineage"), facts(rows))


def _device_section(record: VersionRecord) -> Markup:
    rows: list[tuple[str, Child]] = []
    if record.device is not None:
        device = record.device
        rows += [
            ("weighed on", f"{device.device_class} ({device.cpu}, {device.cores} cores)"),
            ("system", device.system),
            ("instruction sets", ", ".join(device.isa) or "–"),
        ]
    rows += [(name, value) for name, value in record.environment.items() if value]
    rows.append(("seed", str(record.seed)))
    return tag("section", heading(2, "Made and weighed with", "environment"), facts(rows))
