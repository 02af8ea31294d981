"""The parts that a configuration describes; code outside this subpackage reads no configuration."""
