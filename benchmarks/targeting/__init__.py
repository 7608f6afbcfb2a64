"""Parts of `benchmarks/targets.py`: the networks, and every file of them, built by the pipeline's own stages."""
