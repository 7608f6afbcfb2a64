"""The dashboard and the operators' page ask for what the server really gives, in PromQL that Prometheus reads."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serve.world import MODEL, Client, body, one_hot, operator, server
from weighbridge.registry.site.live_queries import AGE, COLUMNS, PROBLEM

DASHBOARD = Path(__file__).parents[2] / "docs/examples/serve/grafana.json"
NAME = re.compile(r"\bweighbridge_\w+")


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def queries() -> Iterator[Any]:
    """Title → PromQL, of the dashboard and of the page, with variables filled in."""
    panels = [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel["targets"]]
    page = [(column.title, column.query) for column in COLUMNS] + [("age", AGE), ("problem", PROBLEM)]
    for title, query in [*panels, *page]:
        yield title, query.replace("$model", MODEL).replace("$__rate_interval", "5m")


@pytest.fixture(scope="module")
def given(_registry_template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Metric → names of its labels, as a server gives them that has done everything once."""
    import shutil

    from weighbridge.registry.state.records import CanaryPlan
    from weighbridge.serve.answers import Options

    folder = tmp_path_factory.mktemp("given")
    root = shutil.copytree(_registry_template, folder / "registry")
    operator(root).start_canary("v3", CanaryPlan(steps=[50, 100]))
    made = server(root, folder / "cache", options=Options(shadow=100, slices=lambda _: ["dark"]))
    client = Client(made.start())
    for number in range(40):
        client.infer(body([one_hot(number % 4)], id=f"r{number}"))
        client("POST", "/v2/feedback", {"id": f"r{number}", "label": "2"})
    client("POST", "/v2/feedback", {"id": "unknown", "label": "2"})
    text = client("GET", "/metrics")[2].decode()
    made.follower.close()
    found = {}
    for name, labels in re.findall(r"^(\w+)\{(.*?)\} ", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


def unknown(asked: str, given: Any) -> Any:
    """What a query asks for that no server gives: metrics, and labels that it groups or selects by."""
    names = set(NAME.findall(asked))
    missing = {name for name in names if name not in given}
    labels = set()
    for found in re.findall(r"by \(([^)]*)\)", asked):
        labels |= {label.strip() for label in found.split(",")}
    labels |= set(re.findall(r"[{,](\w+)=", asked))
    known = set.intersection(*(given[name] for name in names if name in given)) if names - missing else set()
    return missing | (labels - known if names - missing else set())


def test_every_metric_and_label_that_is_asked_for_is_one_that_the_server_gives(given: dict[str, Any]) -> None:
    seen = set()
    for title, query in queries():
        assert not unknown(query, given), title
        seen |= set(NAME.findall(query))
    (model,) = [item for item in dashboard()["templating"]["list"] if item["name"] == "model"]
    assert set(NAME.findall(model["query"]["query"])) <= set(given)
    left = {name for name in given if not name.endswith(("_created", "_sum", "_count"))} - seen
    assert not left, "the dashboard leaves these out"


def test_a_metric_or_label_that_was_renamed_is_seen(given: dict[str, Any]) -> None:
    for query in (
        "sum(weighbridge_request_total)",
        'sum by (versions) (rate(weighbridge_errors_total{model="a"}[5m]))',
    ):
        assert unknown(query, given)
    without = {name: labels for name, labels in given.items() if name != "weighbridge_refused_total"}
    assert any(unknown(query, without) for _, query in queries())


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    def check(found: Any) -> subprocess.CompletedProcess[bytes]:
        rules = [{"record": f"asked:{number}", "expr": query} for number, query in enumerate(found)]
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
        return subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], check=False, capture_output=True)

    found = [query for _, query in queries()]
    done = check(found)
    assert done.returncode == 0, done.stderr.decode()
    assert check([*found, "sum by version (rate(a[5m])"]).returncode != 0


def test_panels_do_not_overlap_and_have_numbers_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
