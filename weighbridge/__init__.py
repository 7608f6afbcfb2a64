"""Weighbridge: every model is weighed before it may cross into the registry.

The hallway between the three rooms (`compress`, `gate`, `registry`), which never import one another:

- `weighbridge.core.documents`: what travels between rooms (params, manifest, measurement, verdict)
- `weighbridge.data`: the contract of a user's data factory, and the `.npz` form of an evaluation set
- `weighbridge.core.files`, `weighbridge.core.git`: YAML and JSON, atomic writes, digests; a thin wrapper around git
- `weighbridge.core.errors`: one base class, exit codes in one place
- `weighbridge.ci`: pull requests: the gate of a change, its comment, promotion from CI, `init`
- `weighbridge.cli`: parse, one call into a room, print, exit
"""

__version__ = "0.1.0"
