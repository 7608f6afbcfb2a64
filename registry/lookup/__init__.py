"""From a name to a version, from a version to its verified bytes.

- `resolve`: the one resolver; `resolved`: its answer
- `location`: where bytes can be had, verified; `dvc_remotes`: DVC asked in a child process
- `stable`: what the registry serves now, written down for the pipeline
"""
