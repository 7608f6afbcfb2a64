"""Measurement + budgets -> verdict, without side effects.

- `judge`: one measurement against all its budgets; `assess`: one budget
- `budget_tests`: the statistical test behind each kind of budget
- `launch_metrics`, `quality`: assessment of what is timed, and of what is counted over examples
- `assessment`: the result of one budget, before corrections for many; `reasons`: why, in a sentence
- `validity`: whether a measurement may decide at all
- `policy`: budgets of the merge base against budgets of the head; `waivers`: what somebody accepted by name
"""
