"""The parts of a training that a configuration describes."""
