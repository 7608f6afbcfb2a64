"""Recipes tried at growing cost, the journal that keeps them, and what is confirmed."""
