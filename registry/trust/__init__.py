"""Who may, whose signatures count, and whether the state is sound.

- `registry_policy`: `registry.policy.yaml`; `online_budgets`: what must hold while a canary takes traffic
- `signing`, `keyless`: statements over digests, by key or by a CI job's identity
- `freshness`: what a channel names, signed with an expiry
- `verify`, `audit`: the whole tree, and that it only grew
"""
