"""Gate: artifact → verdict and report. numpy, scipy and the runtimes; no torch; starts fast.

- `device`: the fingerprint of the machine
- `runtimes`: one file a target: load, run, peak memory
- `worker`: the small process that times one artifact; imports numpy and one runtime only
- `weigh`: launch pairs, interleaving, stopping
- `accuracy`, `sizes`: the metrics over examples and the facts of a file
- `statistics`: intervals and spending, small and tested against published tables
- `judge`: pure: measurement + budgets → verdict
- `policy`: budgets of the merge base against budgets of the head; waivers
- `report`: markdown, HTML and plots, as functions that return strings or figures
- `stages`: bodies of the DVC stages `device`, `weigh` and `judge`
"""
