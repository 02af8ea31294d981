"""Wheel and sdist, built and tried as somebody who installs them does: `make wheel`."""
