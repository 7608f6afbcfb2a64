"""What pages share: the frame, badges, and tables of figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weighbridge.core.formatting import quantity
from weighbridge.registry.site.markup import Child, Markup, tag, text
from weighbridge.registry.state.records import Estimate, VersionRecord
from weighbridge.registry.views.figures import better, change, in_order, interval, title

# Everything comes from the site's own folder; nothing is ever fetched from elsewhere.
_CONTENT_POLICY = "default-src 'none'; style-src 'self' file:; script-src 'self' file:; base-uri 'none'"


def page(  # noqa: PLR0913  # what a page has, each by its name
    name: str,
    trail: Sequence[tuple[str, str | None]],
    body: Child,
    *,
    up: str = "",
    scripts: Sequence[str] = (),
    connect: str | None = None,
) -> str:
    """A whole page. `trail`: where it is, as names with links, outermost first. `up`: the way to the site's root.
    `scripts`: of the site's own, beside the one of all pages; `connect`: the one address that they may ask.
    """
    policy = _CONTENT_POLICY + (f"; connect-src {connect}" if connect else "")
    steps = [
        tag("li", tag("a", label, href=link) if link else tag("span", label, aria_current="page"))
        for label, link in trail
    ]
    document = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", name),
            tag("link", rel="stylesheet", href=f"{up}_/style.css"),
            [tag("script", src=f"{up}_/{file}", defer=True) for file in ("script.js", *scripts)],
        ),
        tag(
            "body",
            tag("a", "Skip to content", class_="skip", href="#content"),
            tag("header", tag("nav", tag("ol", steps), aria_label="Where you are"), class_="top"),
            tag("main", body, id="content"),
            tag("footer", tag("p", "Made from the registry's own history; every record checked against it.")),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{document}\n"


def badges(status: Iterable[str]) -> list[Markup]:
    """What a version is now, as small labels."""
    return [tag("span", name, class_=f"badge {name}") for name in status]


def when(moment: str) -> Markup:
    """A time, to the minute, UTC."""
    return tag("time", f"{moment[:10]} {moment[11:16]}", datetime=moment)


def digest(value: str) -> Markup:
    """A digest: the start for the eye, the whole for copying."""
    return tag("code", tag("span", value[:19], class_="short"), tag("span", value[19:], class_="rest"), title=value)


def heading(level: int, words: str, name: str) -> Markup:
    """A heading that can be linked to."""
    return tag(f"h{level}", words, id=name)


def facts(rows: Iterable[tuple[str, Child]]) -> Markup:
    """Names and values side by side."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="facts")


def table(caption: str, heads: Sequence[str], rows: Iterable[Markup], *, class_: str = "") -> Markup:
    """A table; heads that start with `#` are of numbers, and set to the right."""
    cells = [
        tag("th", head.removeprefix("#"), scope="col", class_="number" if head.startswith("#") else None)
        for head in heads
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", cells)),
            tag("tbody", list(rows)),
            class_=class_ or None,
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def number(shown: Child, value: float | None) -> Markup:
    """A cell of a number; `value` is what it is sorted by."""
    return tag("td", shown, class_="number", data_value=None if value is None else repr(float(value)))


def figure(estimate: Estimate | None) -> Markup:
    """A cell with one metric of a version, its interval for the pointer."""
    if estimate is None:
        return number("–", None)
    said: Child = quantity(estimate.value, estimate.unit)
    if estimate.lower != estimate.upper:
        said = tag("span", said, title=f"95% interval {interval(estimate)}")
    return number(said, estimate.value)


def metrics_table(record: VersionRecord) -> Markup:
    """All metrics of a version beside the baseline's."""
    rows = []
    for name, estimate in in_order(record.metrics):
        verdict = better(name, estimate)
        trend = {True: "better", False: "worse", None: ""}[verdict]
        moved = tag("span", change(estimate), class_=trend or None)
        said = tag("span", f" ({trend})", class_="hidden") if trend else None
        rows.append(
            tag(
                "tr",
                tag("th", title(name), tag("small", name), scope="row"),
                number(quantity(estimate.value, estimate.unit), estimate.value),
                number(interval(estimate), None),
                number("–" if estimate.baseline is None else quantity(estimate.baseline, estimate.unit), None),
                number(text(moved, said), None),
            )
        )
    heads = ("metric", "#value", "#95% interval", "#baseline", "#change")
    return table("Measured, beside the baseline", heads, rows)
