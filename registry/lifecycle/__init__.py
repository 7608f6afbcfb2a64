"""What happens to a version.

- `evidence`, `estimates`, `promote`: select, check and record what passed
- `operate`: release, roll back, canary, quarantine, deprecate
- `gc`: what DVC's cache still needs
"""
