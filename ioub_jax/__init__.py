"""Object detectors in JAX: the IoU-balanced losses and what trains and evaluates with them."""

__version__ = "0.1.0"
