"""What a search has found, as text, files and pictures."""
