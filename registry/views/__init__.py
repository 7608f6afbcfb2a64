"""What people and other tools read.

- `overview`, `compare`: models, versions, history; two versions side by side
- `card`, `bom`, `figures`: model cards, bills of materials, figures for people
- `schemas`: JSON Schemas of the registry's files
"""
