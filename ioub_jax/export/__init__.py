"""Export of a trained detector to programs that do not have this package."""
