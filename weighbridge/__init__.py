"""Weighbridge: a Git-native model registry and CI gate for compressed models.

What composes, at the top:

- `weighbridge.cli`: parse, one call into a room, print, exit; `weighbridge.entry` is where the program starts
- `weighbridge.ci`: pull requests: the gate of a change, its comment, promotion from CI, `init`

Rooms, which never import one another. Their folders lie at the repository's top and are linked here:

- `weighbridge.compress`: params -> artifact; the only one that imports torch
- `weighbridge.gate`: artifact -> verdict and report
- `weighbridge.registry`: verdict -> version and channel; imports no ML library

What everything stands on:

- `weighbridge.core`: documents, facts, formats of model files, files, Git, errors
- `weighbridge.data`: the contract of a user's data factory, and the `.npz` form of an evaluation set
"""

__version__ = "0.1.0"
