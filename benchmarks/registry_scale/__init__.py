"""Parts of `benchmarks/registry.py`.

- `processor_times`: whole processes timed by the wall and by the processor; a row of the table
- `long_histories`: registries of a given size, written by `git fast-import`; GTO's tags on as many commits
- `whole_commands`: resolve, list, verify and promote at each size, beside GTO
- `promoters`: promotions in many clones at once
- `interrupted`: promotions that are killed, or that find no space on the disk
"""
