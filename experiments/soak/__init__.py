"""A long training that is killed at random moments, beside an undisturbed one: `make soak`."""
