"""Sections of `benchmarks/size.py`.

- `stage_process`: a command's seconds and memory
- `large_road`: a model beyond 2 GiB on its way to a promoted version
- `explaining`: how long `explain` takes
- `slow_models`: whether `time_limit: auto` decides
"""
