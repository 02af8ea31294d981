"""Wheel and sdist, built, installed and tried as by a user: `make wheel`."""
