"""Plots of a run, one module a question."""
