"""Parts of `benchmarks/serve.py`.

- `networks`: models of a known cost, and a registry that has them on its channels
- `clients`: a client that costs little beside a server on the same two cores
- `processes`: servers beside the benchmark: ours, MLServer; their memory
- `kserve_client`: KServe's published clients, in an environment of their own
- `moving`: channels that move, and servers that are killed, under load
"""
