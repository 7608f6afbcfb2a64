"""Recipes: validated, composed, run and explained."""
