"""Measurements of `python -m experiments.benchmark`."""
