"""A trained detector for programs that do not have this package."""
