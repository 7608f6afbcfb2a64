"""Gate: artifact → verdict and report. numpy, scipy and the runtimes; no torch; starts fast.

- `machine`, `device`: what a machine says of itself; its document with the fingerprint
- `devices`: the places where artifacts are weighed: here, behind SSH, by a user's harness
- `runtimes`: one file a target: load, run, peak memory
- `worker`: the small process that times one artifact; imports numpy and one runtime only
- `process`: workers as the gate sees them: started fresh, asked with a deadline, killed as a group
- `bench`, `recording`: one launch of all roles, interleaved, on the device; what was seen, before anything is computed
- `launches`, `pairing`: from a recording to a launch's values
- `noisy`, `tally`: launch after launch until no budget is open; what they have given, continued over re-runs
- `job`, `inputs`: what a weighing is about, checked before anything runs
- `weigh`: the order of work, and the measurement that comes of it
- `evaluation`, `accuracy`, `sizes`, `energy`: answers over a data set, metrics over them, facts of a file, counters
- `alone`: the stand-alone gate for two files
- `calibrate`, `trialmodels`: what this machine can resolve, by models of known cost
- `lost`: a measurement that should be continued and is gone
- `turn`: two gates on one machine wait for each other
- `statistics`: intervals and spending, small and tested against published tables
- `judge`: pure: measurement + budgets → verdict
- `policy`: budgets of the merge base against budgets of the head; waivers
- `report`: markdown, HTML and plots, as functions that return strings or figures
- `stages`: bodies of the DVC stages `device` and `weigh`
"""
