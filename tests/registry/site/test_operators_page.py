"""The operators' page: what the last looks saw, why a canary holds; in Chromium with a Prometheus, what is so now."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.registry.publish.project import Project
from tests.registry.site.test_browser import browse, cells  # noqa: F401  # the first is a fixture
from tests.registry.site.test_build import Page
from weighbridge.core.errors import InputError
from weighbridge.registry.site.build import build
from weighbridge.registry.site.live_queries import AGE, COLUMNS, PROBLEM, prometheus_url
from weighbridge.registry.site.operators_page import operations_page
from weighbridge.registry.state.events import EventKind
from weighbridge.registry.state.layout import WorkTree
from weighbridge.registry.state.snapshot import ModelState, read_model


def evidence(samples: int, error: float, accuracy: float | None = None) -> dict[str, Any]:
    """As a decision of the judge writes it."""
    low, high = max(0.0, error - 9 / samples), error + 9 / samples
    budgets = [
        {"metric": "error_rate", "rule": "max", "limit": 0.02, "state": "within" if high <= 0.02 else "open",
         "estimate": error, "lower": low, "upper": high, "samples": samples, "stable_samples": 3 * samples},
        {"metric": "accuracy", "rule": "max_drop", "limit": 0.02, "state": "missing", "samples": 0},
    ]  # fmt: skip
    if accuracy is not None:
        half = 12 / samples
        budgets[1].update(
            state="open", estimate=accuracy, lower=accuracy - half, upper=accuracy + half, samples=samples
        )
    return {
        "cause": f"open {samples}",
        "source": "prometheus http://p",
        "samples": samples,
        "seconds": 720.0,
        "budgets": budgets,
    }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A model with a canary that was looked at, and an alarm on what is stable."""
    project = Project(tmp_path_factory.mktemp("watched") / "project")
    project.add("int8", b"a" * 100, baseline=b"b" * 300)
    project.add("slim", b"c" * 50, channel=False)
    project.move(
        EventKind.ALARMED, "v1", reason="drift: predictions: <b>moved</b>", evidence={"causes": ["x"], "action": "tell"}
    )
    project.move(EventKind.CANARY_STARTED, "v2", reason="half the size")
    looks = ((400, 0.01, None), (900, 0.012, None), (1500, 0.009, 0.012), (2600, 0.011, 0.009), (4200, 0.0105, 0.008))
    for samples, error, accuracy in looks:
        project.move(
            EventKind.CANARY_HELD,
            "v2",
            reason=f"not yet decided: accuracy ({samples})",
            evidence=evidence(samples, error, accuracy),
        )
    return project


def state(project: Project) -> ModelState:
    return read_model(WorkTree(project.root), project.model)


def test_the_page_says_what_serves_and_why_the_canary_holds(watched: Project) -> None:
    page = Page(operations_page(state(watched)))
    said = " ".join("".join(page.text).split())
    assert "v2 holds: not yet decided: accuracy (4200)" in said
    assert "<b>moved</b>" in said
    assert "0.0105 [0.00836, 0.0126] at a limit of 0.02, within; 5 looks" in said
    assert "0.008 [0.00514, 0.0109] at a limit of 0.02, open; 3 looks" in said
    assert "95%" in said
    assert "12,600" in said
    assert not any(name == "section" and "live" in (values.get("class") or "") for name, values in page.tags)
    assert not any("live.js" in link for link in page.links)


def test_evidence_that_cannot_be_read_is_left_out_and_breaks_no_page(watched: Project) -> None:
    found = state(watched)
    events = list(found.events)
    broken = {"budgets": [{"metric": "error_rate", "limit": "much", "estimate": True}, 7, {"rule": "max"}]}
    events[-1] = events[-1].model_copy(update={"evidence": broken})
    changed = type(found)(found.channels, found.records, tuple(events))
    assert "4 looks" in "".join(Page(operations_page(changed)).text)
    changed = type(found)(
        found.channels, found.records, tuple(event for event in events if "budgets" not in event.evidence)
    )
    assert "nothing is known of its traffic" in "".join(Page(operations_page(changed)).text)


@pytest.mark.parametrize(
    "wrong",
    ["http://p:9090", "prometheus=", "prometheus=ftp://p", "prometheus=http://p/;script-src *", "prometheus=http://"],
)
def test_what_is_no_address_of_a_prometheus_is_refused(wrong: str) -> None:
    """It becomes part of the page's content policy."""
    with pytest.raises(InputError, match="not the address"):
        prometheus_url(wrong)


@pytest.fixture
def prometheus() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A server that answers the page's queries as Prometheus's API does, to any origin as Prometheus does."""
    asked = []
    values = [
        {"v1": 12.5, "v2": 0.66}, {"v1": 0.001, "v2": 0.0105}, {"v1": 0.0012, "v2": 0.0009},
        {"v1": 0.0031, "v2": 0.002}, {"v1": 0.9}, {"v2": 0.031},
    ]  # fmt: skip
    known = {column.query.replace("$model", "fashion-cnn"): rows for column, rows in zip(COLUMNS, values, strict=True)}
    known |= {AGE.replace("$model", "fashion-cnn"): {"": 4.2}, PROBLEM.replace("$model", "fashion-cnn"): {"": 0}}

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            (query,) = parse_qs(parts.query)["query"]
            asked.append((parts.path, query))
            result = [
                {"metric": {"version": version} if version else {}, "value": [time.time(), str(value)]}
                for version, value in known[query].items()
            ]
            said = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_in_chromium_the_page_shows_what_is_so_now(
    watched: Project,
    prometheus: tuple[str, list[tuple[str, str]]],
    browse: Callable[..., str],  # noqa: F811
    tmp_path: Path,
) -> None:
    address, asked = prometheus
    build(watched.root, tmp_path / "site", metrics=address)
    dom = browse(tmp_path / "site/fashion-cnn/operations.html", "--virtual-time-budget=5000", "--dump-dom")
    assert len(asked) == len(COLUMNS) + 2
    assert cells(dom, 0) == ["v1", "v2"]
    assert cells(dom, 1) == ["94.98%", "5.02%"]
    assert cells(dom, 4) == ["1.20 ms", "0.900 ms"]
    assert cells(dom, 7) == ["–", "3.10%"]
    assert "The registry's newest state serves. Its remote answered 4.20 s ago." in dom


def test_in_chromium_a_prometheus_that_is_away_leaves_the_last_looks(
    watched: Project,
    browse: Callable[..., str],  # noqa: F811
    tmp_path: Path,
) -> None:
    build(watched.root, tmp_path / "site", metrics="http://127.0.0.1:9")
    dom = browse(tmp_path / "site/fashion-cnn/operations.html", "--virtual-time-budget=5000", "--dump-dom")
    assert "http://127.0.0.1:9 does not answer" in dom
    assert "v2 holds" in dom


def test_in_chromium_nothing_else_than_the_given_address_is_reached(
    watched: Project,
    prometheus: tuple[str, list[tuple[str, str]]],
    browse: Callable[..., str],  # noqa: F811
    tmp_path: Path,
) -> None:
    """The page's content policy names it: a script that somebody got in could not send anything elsewhere."""
    address, asked = prometheus
    build(watched.root, tmp_path / "site", metrics="http://127.0.0.1:9")
    page = tmp_path / "site/fashion-cnn/operations.html"
    (tmp_path / "site/_/live.js").write_text(f"fetch('{address}/api/v1/query?query=x');")
    browse(page, "--virtual-time-budget=3000", "--dump-dom")
    assert not asked
