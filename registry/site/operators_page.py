"""The operators' page of one model: what serves, why its canary holds, what the looks saw, which alarms were raised.

From the registry's history alone it says what the last looks saw. Given a Prometheus, a script on the page asks it for
what is so now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weighbridge.core.formatting import quantity
from weighbridge.registry.site.live_queries import AGE, COLUMNS, PROBLEM
from weighbridge.registry.site.looks_chart import Seen, looks_chart
from weighbridge.registry.site.markup import Markup, tag, text
from weighbridge.registry.site.parts import heading, number, page, table, when
from weighbridge.registry.state.events import Event, EventKind
from weighbridge.registry.state.snapshot import ModelState

FILE = "operations.html"
_LOOKS = {
    EventKind.CANARY_HELD: "holds",
    EventKind.CANARY_ADVANCED: "advances",
    EventKind.CANARY_ABORTED: "is aborted",
    EventKind.PROMOTED: "is stable",
}
_ALARMS = {EventKind.ALARMED, EventKind.ALARM_CLEARED}
_NUMBERS = ("limit", "estimate", "lower", "upper")


def operations_page(state: ModelState, metrics: str | None = None) -> str:
    """The page; `metrics`: the address of a Prometheus that the reader's browser reaches."""
    trail = [("Registry", "../index.html"), (state.name, "index.html"), ("in production", None)]
    started = [event for event in state.events if event.kind == EventKind.CANARY_STARTED]
    looks = _looks(state.events, started[-1]) if started else []
    body = (
        tag("h1", f"{state.name} ", tag("span", "in production", class_="version")),
        _live_section(state, metrics) if metrics else None,
        _traffic_section(state, looks),
        _canary_section(started[-1], looks) if started else None,
        _alarms_section(state.events),
    )
    scripts = ("live.js",) if metrics else ()
    return page(f"{state.name} in production", trail, body, up="../", scripts=scripts, connect=metrics)


def _looks(events: Sequence[Event], start: Event) -> list[Event]:
    """What was decided of the canary that this event started, with evidence of budgets, the oldest first."""
    assert start.target is not None
    version = start.target.version
    return [
        event
        for event in events
        if event.number > start.number
        and event.kind in _LOOKS
        and event.target is not None
        and (event.target.version == version or event.kind == EventKind.CANARY_ABORTED)
        and isinstance(event.evidence.get("budgets"), list)
    ]


def _live_section(state: ModelState, metrics: str) -> Markup:
    """An empty table that the script fills; without JavaScript it stays hidden."""
    queries = [{"title": c.title, "unit": c.unit, "query": _asked(state, c.query)} for c in COLUMNS]
    told = {"columns": queries, "age": _asked(state, AGE), "problem": _asked(state, PROBLEM)}
    heads = ("version", "#share", *(f"#{column.title}" for column in COLUMNS))
    return tag(
        "section",
        heading(2, "Now", "now"),
        tag("p", "", role="status", class_="lead"),
        table("Over the last five minutes", heads, ()),
        class_="live",
        hidden=True,
        data_metrics=metrics,
        data_queries=json.dumps(told),
    )


def _asked(state: ModelState, query: str) -> str:
    return query.replace("$model", state.name)


def _traffic_section(state: ModelState, looks: Sequence[Event]) -> Markup:
    channels = state.channels
    weight = channels.canary.weight if channels.canary else 0.0
    rows = []
    for name, place, share in (("stable", channels.stable, 100 - weight), ("canary", channels.canary, weight)):
        if place is None:
            continue
        counted = _requests(looks, of=name) if channels.canary else None
        rows.append(
            tag(
                "tr",
                tag("th", tag("a", place.version, href=f"{place.version}.html"), scope="row"),
                tag("td", tag("span", name, class_=f"badge {name}")),
                number(
                    text(tag("meter", f"{share:g}%", min="0", max="100", value=f"{share:g}"), f" {share:g}%"), share
                ),
                number("–" if counted is None else f"{counted:,}", counted),
                tag("td", when(place.since)),
            )
        )
    if not rows:
        return tag("p", "Nothing serves.")
    heads = ("version", "channel", "#share", "#requests at the last look", "since")
    return tag("section", heading(2, "Traffic by version", "traffic"), table("As the channels say", heads, rows))


def _requests(looks: Sequence[Event], *, of: str) -> int | None:
    """Of the last look: all of the canary's, or the most that a budget compared it with."""
    if not looks:
        return None
    evidence = looks[-1].evidence
    if of == "canary":
        return int(evidence.get("samples", 0))
    return max((int(budget.get("stable_samples", 0)) for budget in _budgets(looks[-1])), default=None)


def _budgets(event: Event) -> list[Mapping[str, Any]]:
    return [budget for budget in event.evidence["budgets"] if isinstance(budget, dict) and budget.get("metric")]


def _canary_section(start: Event, looks: Sequence[Event]) -> Markup:
    assert start.target is not None
    version = start.target.version
    title = heading(2, f"Canary {version}", "canary")
    if not looks:
        return tag(
            "section", title, tag("p", "No look was recorded yet: nothing is known of its traffic.", class_="lead")
        )
    last = looks[-1]
    verdict = tag("p", tag("strong", f"{version} {_LOOKS[last.kind]}: "), last.reason or "–", class_="why")
    seen = ("looked at ", when(last.at), f" · {last.evidence.get('source', '')} · event {last.number}")
    charts = [
        tag(
            "li",
            tag("h3", name),
            looks_chart(points, f"{name}: {_in_words(points)}"),
            tag("p", _in_words(points)),
        )
        for name, points in _series(looks).items()
    ]
    legend = tag("p", "Each bar is the interval of one look, oldest first; the line is the limit.", class_="lead")
    return tag(
        "section",
        title,
        verdict,
        tag("p", *seen, class_="who"),
        _budget_table(last),
        legend if charts else None,
        tag("ul", charts, class_="looks-list") if charts else None,
    )


def _series(looks: Sequence[Event]) -> dict[str, list[Seen]]:
    """Budget → what each look saw of it, of the looks that saw something."""
    found: dict[str, list[Seen]] = {}
    for event in looks:
        for budget in _budgets(event):
            values = [budget.get(name) for name in _NUMBERS]
            if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
                limit, estimate, lower, upper = (float(value) for value in values if value is not None)
                seen = Seen(event.at, _state(budget), limit, estimate, lower, upper)
                found.setdefault(f"{budget['metric']} ({budget.get('rule', '')})", []).append(seen)
    return found


def _state(budget: Mapping[str, Any]) -> str:
    state = budget.get("state")
    return state if state in ("within", "beyond", "open", "missing") else "open"


def _in_words(points: Sequence[Seen]) -> str:
    last = points[-1]
    counted = f"{len(points)} look{'' if len(points) == 1 else 's'}"
    return (
        f"{last.estimate:.3g} [{last.lower:.3g}, {last.upper:.3g}] at a limit of {last.limit:g}, {last.state}; "
        f"{counted}"
    )


def _budget_table(event: Event) -> Markup:
    rows = []
    for budget in _budgets(event):
        state, limit = _state(budget), budget.get("limit")
        seen = [budget.get(name) for name in ("estimate", "lower", "upper")]
        known = all(isinstance(value, (int, float)) for value in seen)
        rows.append(
            tag(
                "tr",
                tag("th", str(budget["metric"]), scope="row"),
                tag("td", tag("span", state, class_=f"badge {_BADGES[state]}")),
                number(f"{budget.get('rule', '')} {limit:g}" if isinstance(limit, (int, float)) else "–", None),
                number(f"{seen[0]:.3g}" if known else "–", None),
                number(f"{seen[1]:.3g} – {seen[2]:.3g}" if known else "–", None),
                number(f"{int(budget.get('samples', 0)):,}", None),
            )
        )
    seconds = event.evidence.get("seconds")
    spent = f", {quantity(float(seconds), 'seconds')} into the step" if isinstance(seconds, (int, float)) else ""
    heads = ("budget", "state", "#limit", "#estimate", "#interval", "#requests")
    return table(f"The last look{spent}", heads, rows)


_BADGES = {"within": "pass", "beyond": "fail", "open": "inconclusive", "missing": "inconclusive"}


def _alarms_section(events: Sequence[Event]) -> Markup | None:
    items = [
        tag(
            "li",
            tag(
                "p",
                tag("strong", event.kind.replace("-", " ")),
                " ",
                event.target and event.target.version,
                class_="what",
            ),
            tag("p", event.reason, class_="reason") if event.reason else None,
            tag("p", when(event.at), f" · {event.by} · event {event.number}", class_="who"),
            class_=f"event {event.kind}",
        )
        for event in reversed(events)
        if event.kind in _ALARMS
    ]
    if not items:
        return None
    return tag("section", heading(2, "Alarms", "alarms"), tag("ol", items, class_="history"))
