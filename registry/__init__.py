"""Registry: verdict → version, channel. Git and files; no ML library at all.

- `layout`: where the state lies, and the guarded way to read it
- `records`: version record, channels, event
- `rollout`: pure transitions: what each event does, and when it may not happen
- `store`, `commit`: the one door to the state; one commit, compared and swapped; recovery
- `evidence`, `estimates`, `promote`: select, check and record what passed
- `operate`: release, roll back, canary, quarantine, deprecate
- `resolve`, `location`: from a name to a version, from a version to its verified bytes
- `verify`, `audit`: the whole tree, and that it only grew
- `policy`, `signing`: who may, whose signatures count, statements over digests
- `canary`, `online`, `sequential`, `telemetry`, `prometheus`: judge what is seen online
- `overview`, `compare`, `gc`, `schemas`: rows, differences, what the cache still needs, JSON Schemas
- `snapshot`: the whole state, read once along the chain of digests, for what follows
- `publish`: what leaves: DVC remotes, OCI registries, Kubernetes manifests
- `figures`, `card`, `bom`: figures for people, model cards, bills of materials
- `tags`: the bridge to GTO
- `site`: the registry as static pages

`registry/models/` is the registry's state, tracked by Git; it is never shipped in a wheel.
"""
