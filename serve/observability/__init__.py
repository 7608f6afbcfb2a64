"""What is kept of answered requests: counters, spans, and what late labels are matched with."""
