"""The registry's state: files in Git behind one door."""
