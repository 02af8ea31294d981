"""A long training that is killed at random moments, beside one that is not: `make soak`."""
