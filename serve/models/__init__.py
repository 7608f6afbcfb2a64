"""Models in memory, and the requests that run on them.

- `runtimes`: the runtimes behind one interface
- `queueing`: what waits for a model's thread, and the connection that it reads itself while nothing else waits
- `batching`: requests that run together
- `fleet`: versions loaded from verified bytes, swapped as a whole
"""
