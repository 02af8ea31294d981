"""Export of a trained detector to programs that run without this package."""
