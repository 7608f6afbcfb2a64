"""Launch after launch until no budget is open.

- `job`: what one weighing is about, checked before anything runs
- `weigh`: the order of work, and the measurement that comes of it; `time_outs`: for an answer of a worker
- `sampling`: which metrics still need launches, and when to stop
- `accumulator`: what the launches have given, continued over re-runs
- `continuing`, `runs`: which earlier measurement is gone on with, and who measured
- `paired_answers`, `answering`: what two models said of the same examples
- `accuracy`, `by_task`, `resampled_metrics`: metrics over answers; `own`: those of the user
- `bootstrap`: their resamples, of examples or of groups; `neighbours`: searches among embeddings
"""
