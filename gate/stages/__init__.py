"""What the command line and DVC run."""
