"""Registry: verdict → version, channel. Git and files; no ML library at all.

- `records`: version record, channels, event
- `store`: the only code that touches `registry/models/`
- `promote`: select, check and record what passed
- `rollout`: pure transitions: start, advance, abort, roll back, quarantine
- `verify`: the whole tree
- `signing`: statements over digests
- `publish`: DVC remote, OCI

`registry/models/` is the registry's state, tracked by Git; it is never shipped in a wheel.
"""
