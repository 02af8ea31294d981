"""Notebooks, and what runs them without a browser."""
