"""What `stable` and `canary` mean to running traffic: an Open Inference Protocol v2 server that follows a registry.

- `following`: the registry's remote, fetched, refused where it was rewound, verified; what is to be served
- `fleet`: versions loaded from verified bytes, swapped as a whole; `batching`: requests that run together
- `queueing`: what waits for a model's thread, and the connection that it reads itself while nothing else waits
- `runtimes`: the runtimes behind one interface; `tensors`: the protocol's tensors, with limits; `compact`: JSON
- `routing`: which version answers a request; `answers`: classes, slices, comparison with the shadow
- `observability`: counters as `registry canary judge` reads them, what late labels are matched with, spans
- `service`: one request from tensors to counted answer
- `protocol`: over HTTP (`application`, `heads` of requests read once, `shortcut` past the framework from the parser to
  the socket, `reading` in the model's thread); over gRPC (`remote`, `messages`)
- `server`: the process: polling, signals, draining; `on_ray`: the same as a deployment of Ray Serve
"""
