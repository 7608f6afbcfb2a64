"""Promote, release, roll back, collect."""
