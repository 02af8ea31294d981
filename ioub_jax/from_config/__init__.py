"""The parts that a configuration describes; code in other subpackages reads no configuration."""
