"""Watching what is stable: three kinds of evidence, kept apart.

- `seen_requests`: a version's requests, with labels that came late, from what `weighbridge serve` writes
- `reference_traffic`: the reference window, recorded beside the version, and counts by its bins
- `logged_traffic`, `scraped_traffic`: the reference window and counts by epoch, from the log or a Prometheus server
- `findings`: realised, estimated and drift evidence, with intervals that stay valid
- `stream_detectors`: river's change detectors; they only raise alarms
- `watching`: one look: findings to events, and to a roll-back as the policy lets it; `webhook` tells others
- `edge_cases`: requests worth keeping for the next test set
"""
