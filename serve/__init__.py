"""What `stable` and `canary` mean to running traffic: an Open Inference Protocol v2 server that follows a registry.

- `following`: the registry's remote, fetched, refused where it was rewound, verified; what is to be served
- `models`: versions in memory, swapped as a whole; what waits for them and runs together
- `tensors`: the protocol's tensors, with limits; `compact`: JSON
- `routing`: which version answers a request; `answers`: classes, slices, comparison with the shadow
- `observability`: counters as `registry canary judge` reads them, what late labels are matched with, spans
- `service`: one request from tensors to counted answer
- `protocol`: over HTTP (`application`, `heads` of requests read once, `shortcut` past the framework from the parser to
  the socket, `exchange` one of these, `reading` in the model's thread, `slow_clients`); over gRPC
  (`remote`, `messages`)
- `server`: the process: polling, signals, draining; `on_ray`: the same as a deployment of Ray Serve
"""
