"""Parts of `benchmarks/watch.py`.

- `drawn_traffic`: how versions answer, drawn as counts; a row of the table
- `canary_rollouts`: bad and good canaries under the documented plan
- `live_canaries`: canaries that really serve
- `recorded_rollouts`: the same, simulated from what was served
- `stable_months`: a stable version that gets worse, or does not, for the bounds and for the detectors of change
"""
