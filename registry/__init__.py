"""Registry: verdict -> version, channel. Git and files; no ML library at all.

From the bottom up:

- `state`: records, channels and events as files, their pure fold, and the one door that changes them
- `trust`: who may, whose signatures count, and whether the whole state is sound
- `lookup`: from a name to a version, from a version to its verified bytes
- `lifecycle`: promote, release, roll back, quarantine, deprecate, collect
- `views`: rows, differences, cards, bills of materials
- `publish`: what leaves: DVC remotes, OCI registries, Kubernetes manifests, GTO tags
- `site`: the registry as static pages
- `canary`: canaries judged by what is seen online

`registry/models/` is the registry's state, tracked by Git; it is never shipped in a wheel.
"""
