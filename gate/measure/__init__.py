"""One launch and one evaluation on one machine, below every decision."""
