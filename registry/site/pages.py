"""The pages of all models and of one model."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.core.facts.metrics import METRICS
from weighbridge.core.formatting import quantity
from weighbridge.registry.site.front_chart import Point, accuracy_metric, chart, front
from weighbridge.registry.site.markup import Child, Markup, tag, text
from weighbridge.registry.site.parts import badges, digest, facts, figure, heading, number, page, table, when
from weighbridge.registry.state.events import Event
from weighbridge.registry.state.records import Estimate, Placed, VersionRecord
from weighbridge.registry.state.snapshot import ModelState

LATENCY = "latency.p50"
_KINDS = ("stable", "canary", "baseline", "quarantined", "deprecated")


def index_page(states: Sequence[ModelState]) -> str:
    """All models and what serves of each."""
    rows = []
    for state in states:
        channels = state.channels
        last = state.events[-1]
        accuracy = accuracy_metric(state.records)
        stable = state.records[channels.stable.version] if channels.stable else None
        rows.append(
            tag(
                "tr",
                tag("th", tag("a", state.name, href=f"{state.name}/index.html"), scope="row"),
                tag("td", _version_link(state, channels.stable)),
                _size(stable),
                figure(_estimate(state, channels.stable, accuracy)),
                figure(_estimate(state, channels.stable, LATENCY)),
                tag("td", _canary(state)),
                number(str(channels.versions), channels.versions),
                tag("td", when(last.at), data_value=last.at),
            )
        )
    heads = ("model", "stable", "#size", "#accuracy", "#latency", "canary", "#versions", "last change")
    models = f"{len(states)} model{'' if len(states) == 1 else 's'}"
    body = (
        tag("h1", "Model registry"),
        tag("p", f"{models}. What serves, what is on trial, and how it came to that.", class_="lead"),
        table("Models", heads, rows, class_="sortable") if rows else tag("p", "The registry has no models yet."),
    )
    return page("Model registry", [("Registry", None)], body)


def model_page(state: ModelState) -> str:
    """One model: channels, chart, versions, history."""
    trail = [("Registry", "../index.html"), (state.name, None)]
    body = (
        tag("h1", state.name),
        tag("p", tag("a", "In production", href="operations.html"), ": traffic, looks, alarms.", class_="lead"),
        _channel_cards(state),
        _chart_section(state),
        _versions_section(state),
        _history_section(state),
    )
    return page(f"{state.name} · model registry", trail, body, up="../")


def _kind(state: ModelState, version: str) -> str:
    status = state.status(version)
    # A quarantine outranks what else a version is; so does the channel that it serves on.
    order = ("quarantined", *_KINDS)
    return next((name for name in order if name in status), "other")


def _version_link(state: ModelState, place: Placed | None) -> Child:
    if place is None:
        return "–"
    record = state.records[place.version]
    return text(
        tag("a", place.version, href=f"{state.name}/{place.version}.html"), " ", tag("small", record.recipe_name)
    )


def _canary(state: ModelState) -> Child:
    canary = state.channels.canary
    if canary is None:
        return "–"
    return text(_version_link(state, canary), " ", tag("strong", f"{canary.weight:g}%"))


def _estimate(state: ModelState, place: Placed | None, metric: str | None) -> Estimate | None:
    return state.estimate(place.version, metric) if place is not None and metric is not None else None


def _size(record: VersionRecord | None) -> Markup:
    if record is None:
        return number("–", None)
    artifact = record.artifacts[0]
    return number(quantity(artifact.bytes, "bytes"), artifact.bytes)


def _channel_cards(state: ModelState) -> Markup:
    channels = state.channels
    accuracy = accuracy_metric(state.records)
    cards = []
    for name, place in (("stable", channels.stable), ("canary", channels.canary), ("baseline", channels.baseline)):
        if place is None:
            cards.append(tag("li", tag("h2", name), tag("p", "nothing", class_="none"), class_=f"channel {name} empty"))
            continue
        record = state.records[place.version]
        rows: list[tuple[str, Child]] = [("size", quantity(record.artifacts[0].bytes, "bytes"))]
        for label, metric in (("accuracy", accuracy), ("latency", LATENCY)):
            estimate = _estimate(state, place, metric)
            if estimate is not None:
                rows.append((label, quantity(estimate.value, estimate.unit)))
        rows.append(("since", when(place.since)))
        share = None
        if name == "canary" and channels.canary:
            weight = channels.canary.weight
            said = f"{weight:g}% of the traffic, step {channels.canary.step + 1} of {len(channels.canary.plan.steps)}"
            share = (tag("meter", said, min="0", max="100", value=f"{weight:g}"), tag("p", said, class_="share"))
        link = tag("a", place.version, href=f"{place.version}.html")
        title = tag("p", link, " ", tag("span", record.recipe_name, class_="recipe"), class_="which")
        cards.append(tag("li", tag("h2", name), title, share, facts(rows), class_=f"channel {name}"))
    return tag("ul", cards, class_="channels")


def _chart_section(state: ModelState) -> Markup:
    metric = accuracy_metric(state.records)
    if metric is None:
        return text()
    points = [
        Point(name, record.artifacts[0].bytes, estimate, _kind(state, name), _hover(state, name, metric))
        for name, record in state.records.items()
        if (estimate := state.estimate(name, metric)) is not None
    ]
    best = ", ".join(point.version for point in front(points))
    label = f"{METRICS[metric].title} against file size of {len(points)} versions; on the Pareto front: {best}"
    shown = [kind for kind in (*_KINDS, "other") if any(point.kind == kind for point in points)]
    legend = tag("ul", [tag("li", _swatch(kind), kind, class_=f"key {kind}") for kind in shown], class_="legend")
    caption = tag("figcaption", "Left and up is better. The line is the Pareto front; bars are 95% intervals.")
    return tag(
        "section",
        heading(2, "Size against accuracy", "pareto"),
        tag("figure", legend, chart(points, metric, label), caption),
    )


def _hover(state: ModelState, version: str, metric: str) -> str:
    record = state.records[version]
    said = [quantity(record.artifacts[0].bytes, "bytes")]
    for name in (metric, LATENCY):
        estimate = state.estimate(version, name)
        said += [quantity(estimate.value, estimate.unit)] if estimate else []
    return f"{version} ({record.recipe_name}): {', '.join(said)}"


def _swatch(kind: str) -> Markup:
    shapes = {
        "stable": tag("circle", cx=10, cy=10, r=7),
        "canary": tag("path", d="M10 2l8 8l-8 8l-8 -8z"),
        "baseline": tag("rect", x=4, y=4, width=12, height=12),
        "quarantined": tag("path", d="M4 4l12 12m0 -12l-12 12"),
    }
    shape = shapes.get(kind) or tag("circle", cx=10, cy=10, r=5)
    return tag("svg", tag("g", shape, class_=f"mark {kind}"), viewBox="0 0 20 20", class_="swatch", aria_hidden="true")


def _versions_section(state: ModelState) -> Markup:
    accuracy = accuracy_metric(state.records)
    rows = []
    for name in reversed(list(state.records)):
        record = state.records[name]
        rows.append(
            tag(
                "tr",
                tag("th", tag("a", name, href=f"{name}.html"), scope="row", data_value=_order(name)),
                tag("td", badges(state.status(name))),
                tag("td", record.recipe_name),
                _size(record),
                figure(state.estimate(name, accuracy) if accuracy else None),
                figure(state.estimate(name, LATENCY)),
                tag("td", when(record.at), data_value=record.at),
                tag("td", digest(record.artifacts[0].digest)),
            )
        )
    heads = ("version", "now", "recipe", "#size", "#accuracy", "#latency", "recorded", "digest")
    return tag(
        "section", heading(2, "Versions", "versions"), table("Versions, newest first", heads, rows, class_="sortable")
    )


def _order(version: str) -> str:
    """Versions in order, baselines before all others."""
    return f"{version[0]}{int(version[1:]):09d}"


def _history_section(state: ModelState) -> Markup:
    items = [_event(event) for event in reversed(state.events)]
    return tag("section", heading(2, "History", "history"), tag("ol", items, reversed=True, class_="history"))


def _event(event: Event) -> Markup:
    version = event.target.version if event.target else event.records[-1].version if event.records else None
    link = tag("a", version, href=f"{version}.html") if version else None
    share = None
    if event.kind == "canary-started" and event.plan:
        share = f" at {event.plan.steps[0]:g}%"
    elif event.kind == "canary-advanced" and event.step is not None:
        share = f" to step {event.step + 1}"
    left = ", ".join(pointer.version for pointer in event.quarantine)
    return tag(
        "li",
        tag("p", tag("strong", event.kind.replace("-", " ")), " ", link, share, class_="what"),
        tag("p", event.reason, class_="reason") if event.reason.strip() else None,
        tag("p", f"quarantined: {left}", class_="reason") if left else None,
        tag("p", when(event.at), f" · {event.by} · event {event.number}", class_="who"),
        class_=f"event {event.kind}",
        value=event.number,
    )
