"""Parts of benchmarks/search.py that need no front: bookkeeping, kills, making on Ray."""
