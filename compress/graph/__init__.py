"""Weights and layers, of a module and of an exported graph."""
