"""What this machine can resolve, by models of known cost."""
