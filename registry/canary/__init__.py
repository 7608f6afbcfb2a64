"""Canaries judged by what is seen online.

- `canary_judge`: one look: hold, advance or abort; `sequential`: confidence sequences, which allow looking often
- `telemetry`, `prometheus`: what was seen, from files or from a Prometheus server
"""
