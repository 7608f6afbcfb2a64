"""What `benchmarks/compress.py` is made of: the same model and data through Weighbridge and through other tools.

- `matched.yaml`: recipes of ours that do the same work as a peer; `benchmarks/recipes.yaml` holds the best ones
- `peers`: what a user of another library would write for that work; nothing of Weighbridge in it
- `child`, `process`: one step in one fresh process, with its seconds and peak memory
- `project`: the one baseline, trained by the project's own settings, kept in a work folder
- `weights`: bytes, accuracy and latency of files, by the gate's own workers
- `overhead`: a step of ours and the bare library calls, in turns
- `rows`: rows, bars and the table; pure
"""
