"""The ground that every room stands on; it imports no room.

- `errors`: one base class, exit codes in one place
- `files`, `git`: YAML and JSON, atomic writes, digests; a thin wrapper around git
- `progress`: how long work reports how far it is
- `formatting`: numbers with units, as people read them
- `transport`: artifacts under zstd
- `examples`, `example_files`: inputs, labels and slices, and their `.npz` files; `callables`: a user's code, imported
- `facts`: tables that several rooms read: metrics, instruction sets
- `documents`: what travels between rooms: params, manifest, measurement, verdict
- `formats`: readers of model files: ONNX, TFLite, ExecuTorch
"""
