"""What the command line and DVC run.

- `pipeline`: the stages `device` and `weigh`
- `summary`: the stage `judge`: every measurement judged, reports written
- `inventory`: the recipes, artifacts and measurements of a project; `merge_base`: its budgets as they were there
- `missing`: a measurement that should be continued and is gone
- `standalone`: the gate for any two files
"""
