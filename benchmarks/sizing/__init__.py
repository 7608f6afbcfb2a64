"""Sections of `benchmarks/size.py`: `large_road`, what models beyond 2 GiB cost on their way to a promoted version."""
