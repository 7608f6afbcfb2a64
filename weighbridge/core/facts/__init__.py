"""Tables of facts: metrics, targets, budget rules."""
