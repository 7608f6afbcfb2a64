"""Canaries judged by what is seen online."""
