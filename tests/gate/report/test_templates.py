"""The templates of `dvc plots`: each is there, takes DVC's data, and draws columns that the stage writes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gate.report.test_to_markdown import entries
from weighbridge.gate.report.tables import launches_csv, limits_csv, trade_off_csv

PROJECT = Path(__file__).parents[3]
PLOTS = {
    name: options
    for plot in yaml.safe_load((PROJECT / "dvc.yaml").read_text())["plots"]
    for name, options in plot.items()
}
COLUMNS = {
    "reports/pareto.csv": trade_off_csv,
    "reports/limits.csv": limits_csv,
    "reports/launches.csv": launches_csv,
}


def fields(spec: Any) -> set[Any]:
    """Every field that a Vega-Lite specification draws or computes with."""
    text = json.dumps(spec)
    return set(re.findall(r'"field": "([a-z_]+)"', text)) | set(re.findall(r"datum\.([a-z_]+)", text))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_template_draws_columns_that_are_written(name: str) -> None:
    """Fields are the CSV's columns, DVC's revision, or computed in the template itself."""
    options = PLOTS[name]
    spec = json.loads((PROJECT / f".dvc/plots/{options['template']}.json").read_text())
    columns = set(COLUMNS[name](entries()).splitlines()[0].split(","))
    computed = {step["as"] for step in spec.get("transform", []) if "as" in step}
    assert fields(spec) - computed <= columns | {"rev", "limit_share"}
    assert {options["x"], options["y"]} <= columns
    assert spec["data"]["values"] == "<DVC_METRIC_DATA>"


def test_every_plot_is_an_output_of_the_judging_stage() -> None:
    """What `dvc plots` shows is made by `judge`, and so is every picture that the report links."""
    outs = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["judge"]["outs"]
    assert set(COLUMNS) <= set(outs)
    assert {f"reports/{name}.png" for name in ("pareto", "limits", "launches")} <= set(outs)
