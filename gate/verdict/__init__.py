"""Measurement + budgets -> verdict, without side effects."""
